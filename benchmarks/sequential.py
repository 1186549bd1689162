"""Error rate, power and seeds of sequential designs: ``python -m benchmarks.sequential [experiments]``.

Differences of matched seeds are normal with an unknown variance. 1 MDE is the difference that a fixed design with the
same N finds in 80 of 100 repeats.
"""

from __future__ import annotations

import math
import sys

import numpy as np

from ablate_analysis.paired import quantiles
from ablate_analysis.sequential import Design, look_at

DESIGNS = {
    "fixed, 16": ((16,), 0.0),
    "4/8/12/16": ((4, 8, 12, 16), 0.0),
    "4/8/12/16, futility": ((4, 8, 12, 16), 0.2),
    "4/6/8, futility": ((4, 6, 8), 0.2),
    "3/4/5/6, futility": ((3, 4, 5, 6), 0.2),
}


def trial(effect: float, count: int, design: Design, seed: int) -> tuple[float, float]:
    """The share of claims in percent, and the mean number of seeds."""
    rng = np.random.default_rng(seed)
    claims = seeds = 0
    for _ in range(count):
        difference_S = rng.normal(effect, 1.0, design.most)
        taken: list[int] = []
        for look in design.looks:
            found = look_at(difference_S[:look], taken, design)
            taken.append(look)
            if found.verdict != "continue":
                break
        claims += found.verdict == "claim"
        seeds += found.num_seeds
    return 100 * claims / count, seeds / count


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    print(f"{count} experiments a cell; the standard error of 5 % is {100 * math.sqrt(0.05 * 0.95 / count):.2f} points")
    head = f"{'false claims %':>16}{'seeds':>8}{'power % at 1 MDE':>18}{'seeds':>8}{'at 2 MDE':>10}{'seeds':>8}"
    print(f"{'design':24}{head}")
    for name, (looks, futility) in DESIGNS.items():
        size = quantiles(looks[-1] - 1, 0.95, 0.8) / math.sqrt(looks[-1])
        design = Design(looks, 0.05, size, futility)
        cells = [trial(factor * size, count, design, seed) for seed, factor in enumerate((0.0, 1.0, 2.0))]
        print(f"{name:24}{cells[0][0]:16.1f}{cells[0][1]:8.1f}{cells[1][0]:18.1f}{cells[1][1]:8.1f}"
              f"{cells[2][0]:10.1f}{cells[2][1]:8.1f}")  # fmt: skip


if __name__ == "__main__":
    main()
