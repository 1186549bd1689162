"""Coverage of the intervals of fitted learning curves: ``python -m benchmarks.curve_fits [experiments]``.

Simulated runs differ by a standard deviation of 0.008 in the asymptote, 12 % in the midpoint and 8 % in the exponent;
each has 25 points with autocorrelated errors (AR(1) 0.8, deviation 0.006) and white ones (0.005).
"""

from __future__ import annotations

import math
import sys

import numpy as np

from ablate_analysis import sigmoid

START, ASYMPTOTE, MIDPOINT, EXPONENT, POINTS = 0.40, 0.62, 900.0, 1.6, 25
CASES = ((30, 3), (10, 3), (10, 2), (10, 5), (4, 3), (4, 5), (2, 3), (1, 3))  # (largest compute / midpoint, runs)


def simulated(reach: float, rng: np.random.Generator) -> sigmoid.Fit | None:
    """The fit of one simulated run."""
    compute = np.linspace(reach * MIDPOINT / POINTS, reach * MIDPOINT, POINTS)
    truth = sigmoid.Fit(START, ASYMPTOTE + rng.normal(0, 0.008), MIDPOINT * math.exp(rng.normal(0, 0.12)),
                        EXPONENT * math.exp(rng.normal(0, 0.08)), compute[-1], 0.0)  # fmt: skip
    shared, errors = 0.0, []
    for _ in range(POINTS):
        shared = 0.8 * shared + rng.normal(0, 0.006 * math.sqrt(1 - 0.8**2))
        errors.append(shared)
    return sigmoid.fit(compute, truth.at(compute) + errors + rng.normal(0, 0.005, POINTS), START)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    error = 100 * math.sqrt(0.0475 / count)
    print(f"{count} experiments a row; nominal 95 %; the standard error of 95 % is {error:.1f} points")
    head = ("reach, runs", "A inside %", "half width", "at 2 x inside %", "A at bound %", "identified %")
    print("".join(f"{each:>17}" for each in head))
    for reach, runs in CASES:
        rng = np.random.default_rng(0)
        inside = predicted = at_bound = identified = 0
        halves = []
        twice = 2 * reach * MIDPOINT
        at_twice = float(sigmoid.Fit(START, ASYMPTOTE, MIDPOINT, EXPONENT, twice, 0.0).at(twice))
        for _ in range(count):
            fits = [simulated(reach, rng) for _ in range(runs)]
            interval = sigmoid.over_runs([fit.asymptote for fit in fits]).interval(0.95)
            inside += interval.low <= ASYMPTOTE <= interval.high
            halves.append((interval.high - interval.low) / 2)
            later = sigmoid.over_runs([float(fit.at(twice)) for fit in fits]).interval(0.95)
            predicted += later.low <= at_twice <= later.high
            at_bound += any(fit.asymptote >= 1 for fit in fits)
            identified += all(fit.is_identified for fit in fits)
        shares = [100 * each / count for each in (inside, predicted, at_bound, identified)]
        cells = (
            f"{reach}, {runs}",
            f"{shares[0]:.0f}",
            f"{np.median(halves):.3f}",
            *(f"{each:.0f}" for each in shares[1:]),
        )
        print("".join(f"{each:>17}" for each in cells))


if __name__ == "__main__":
    main()
