"""How often 95 % intervals hold the truth, by simulation: ``python -m benchmarks.coverage`` (about three minutes).

The second table, ``python -m benchmarks.coverage unequal``, is for cells whose seeds scatter differently.
"""

from __future__ import annotations

import sys

from ablate_analysis.simulate import Design, coverage, unequal_coverage

NUM_EXPERIMENTS, RESAMPLES = 1000, 2000


def equal() -> None:
    print("| seeds | seed noise (logits) | mean | difference | plain bootstrap, mean | plain bootstrap, difference |")
    print("|---:|---:|---:|---:|---:|---:|")
    for num_seeds, deviation in ((2, 0.0), (2, 0.3), (2, 0.6), (3, 0.3), (3, 0.6), (5, 0.3)):
        found = coverage(Design(num_seeds, deviation), NUM_EXPERIMENTS, RESAMPLES, seed=0)
        shares = (found.mean, found.difference, found.plain_mean, found.plain_difference)
        print(f"| {num_seeds} | {deviation} | " + " | ".join(f"{share:.1%}" for share in shares) + " |", flush=True)


def unequal() -> None:
    """One cell scatters ``factor`` times as much as the other three."""
    print("| seeds | factor | noisy mean | noisy - other | other - other | own variance: mean | difference | widths |")
    print("|---:|---:|---:|---:|---:|---:|---:|---:|")
    for num_seeds in (2, 3, 6):
        for factor in (1.0, 2.0, 4.0):
            design = Design(num_seeds, 0.6 / factor, first_factor=factor)
            found = unequal_coverage(design, NUM_EXPERIMENTS, RESAMPLES, seed=0)
            shares = (
                *(found.first_mean, found.first_difference, found.other_difference),
                *(found.own_mean, found.own_difference),
            )
            widths = f"{100 * found.width:.0f}, {100 * found.own_width:.0f}"
            line = " | ".join(f"{share:.1%}" for share in shares)
            print(f"| {num_seeds} | {factor:g} | {line} | {widths} |", flush=True)


if __name__ == "__main__":
    unequal() if sys.argv[1:] == ["unequal"] else equal()
