"""Voxels in motion: where patches are centered, how they are cut and augmented, and in what order they come."""
