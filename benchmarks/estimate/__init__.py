"""How far the estimate is off: ``python -m benchmarks.estimate cpu|memory|published``; results in docs/cluster.md."""
