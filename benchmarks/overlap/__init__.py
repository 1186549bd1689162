"""How much faster a run is when its stages overlap: ``python -m benchmarks.overlap --help``."""
