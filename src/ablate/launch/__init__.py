"""Several runs of a sweep at once on one machine: a launcher for Hydra, and a pool of worker processes."""
