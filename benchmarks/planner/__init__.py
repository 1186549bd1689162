"""How far the planner is off: ``python -m benchmarks.planner cpu|memory|published``; results in docs/cluster.md."""
