"""The fault campaign breaks real runs and counts what happened: ``python -m benchmarks.faults``."""
