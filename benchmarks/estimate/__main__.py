"""``python -m benchmarks.estimate cpu|memory|published``: the estimate's predictions next to measurements.

cpu        short real runs on this machine: fitted to one of them, the estimate predicts the others (5 minutes, idle)
memory     tensors of a 14B rank at 40,960 tokens under FakeTensorMode, by torch's memory tracker (a minute)
published  engines and RL runs that others measured, from published.yaml (seconds)
"""

import sys
from importlib import import_module

PARTS = ("cpu", "memory", "published")

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in PARTS:
        sys.exit(__doc__)
    import_module(f"benchmarks.estimate.{sys.argv[1]}").main(sys.argv[2:])
