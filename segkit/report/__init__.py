"""A run on one HTML page that needs nothing else."""
