"""What selecting the best of several checkpoints gains from noise: ``python benchmarks/selection.py``.

The reference evaluates 13 times on 454 problems x 16 samples and reports the best. Here every checkpoint is the same
model, with a Pass@1 of 67 % and pass rates of the problems drawn from a beta distribution: the smaller its
concentration, the more problems are always or never solved.
"""

from __future__ import annotations

import numpy as np

from ablate_analysis.selection import selection_gain

PROBLEMS, SAMPLES, EVALUATIONS, SCORE = 454, 16, 13, 0.67
CONCENTRATIONS = (0.4, 0.7, 1.0)


def main() -> None:
    rng = np.random.default_rng(0)
    for concentration in CONCENTRATIONS:
        rate_P = rng.beta(SCORE * concentration, (1 - SCORE) * concentration, PROBLEMS)
        gain = selection_gain(rate_P, SAMPLES, EVALUATIONS, rng)
        print(f"concentration {concentration}: the best of {EVALUATIONS} gains {100 * gain:.2f} points")


if __name__ == "__main__":
    main()
