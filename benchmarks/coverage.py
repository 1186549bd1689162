"""How often 95 % intervals hold the truth, by simulation: ``python benchmarks/coverage.py`` (about two minutes)."""

from __future__ import annotations

from ablate_analysis.simulate import Design, coverage


def main() -> None:
    print("| seeds | seed noise (logits) | mean | difference | plain bootstrap, mean | plain bootstrap, difference |")
    print("|---:|---:|---:|---:|---:|---:|")
    for num_seeds, deviation in ((2, 0.0), (2, 0.3), (2, 0.6), (3, 0.3), (3, 0.6), (5, 0.3)):
        found = coverage(Design(num_seeds, deviation), num_experiments=1000, resamples=2000, seed=0)
        shares = (found.mean, found.difference, found.plain_mean, found.plain_difference)
        print(f"| {num_seeds} | {deviation} | " + " | ".join(f"{share:.1%}" for share in shares) + " |", flush=True)


if __name__ == "__main__":
    main()
