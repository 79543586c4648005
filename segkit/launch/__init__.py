"""Where work is done: processes of this machine, a Ray cluster, SLURM. What the workers say comes as one stream."""
