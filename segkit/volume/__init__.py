"""Voxels at rest: files, geometry, preprocessing, and the store of prepared cases."""
