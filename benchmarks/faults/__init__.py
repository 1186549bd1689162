"""The fault campaign breaks real runs in every way we know and counts what happened: ``python -m benchmarks.faults``."""
