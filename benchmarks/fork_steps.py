"""How many steps a fork experiment takes for the standard error of whole runs: ``python -m benchmarks.fork_steps``.

Reads outputs/fork_objective, or DIR with --runs DIR. Both errors are of a difference of two objectives at 320 tokens.
It is not the same difference: that of main is what 40 steps do, and that of forks what the next few do.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

from ablate_analysis import forks
from ablate_analysis.load import load_experiment
from ablate_analysis.power import DifferenceVariance

CONTEXT, STEPS_OF_A_RUN = 320, 40
# experiments/main/README.md, "Power": the variances at 320 tokens of 6 seeds, 108 problems and 4 samples
MAIN = DifferenceVariance(0.0119, 0.091, 0.0237, num_arms=4, num_seeds=6, num_problems=108, num_samples=4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("outputs/fork_objective"))
    parser.add_argument("--baseline", default="dapo")
    options = parser.parse_args()
    branches = forks.read_branches(load_experiment(options.runs), options.baseline)
    if max(len(branches.parents), len(branches.repeats)) < 2:
        sys.exit("one parent and one repeat have no spread, and no standard error: make more of them")
    frame = forks.effects(branches, resamples=1000, confidence=0.95, seed=0)
    of_main = 2 * MAIN.num_seeds * STEPS_OF_A_RUN
    print(f"main: standard error {100 * MAIN.standard_error:.1f} points, {of_main} steps of two objectives")
    pair, parents = forks.steps_of_pair(branches)
    for point in branches.points:
        here = frame[(frame["context"] == CONTEXT) & (frame["point"] == point)]
        error, unit = (math.sqrt((here[name] ** 2).mean()) for name in ("error", "unit_error"))
        of_parents = len(branches.parents) * point
        print(
            f"forked at step {point}: standard error {100 * error:.1f} points, {pair} steps in two arms and "
            f"{of_parents} of the parents; "
            + "; ".join(
                f"{name} {of_main / steps_for(MAIN.standard_error, error, unit, steps):.1f} times fewer steps than main"
                for name, steps in (("branches alone", pair), ("with the parents", pair + of_parents))
            )
        )
    print(f"all points share {parents} steps of the parents")


def steps_for(target: float, error: float, unit: float, steps: float) -> float:
    """Steps for a standard error of ``target``: parents reduce the units' part of the variance, not the problems'."""
    room = target**2 - (error**2 - unit**2)
    return steps * unit**2 / room if room > 0 else math.inf


if __name__ == "__main__":
    main()
