"""How long the statistics take: ``python benchmarks/stats.py``.

454 problems x 16 samples, 10,000 resamples: the size of the reference evaluation. Goal: about a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from ablate_analysis import simulate, stats

PROBLEMS, SAMPLES, RESAMPLES, SEEDS, ARMS, REPEATS = 454, 16, 10_000, 3, 4, 3


def seconds(job: Callable[[], object]) -> float:
    """The fastest of a few repeats."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        job()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    rng = np.random.default_rng(0)
    passed_ASPN = rng.random((ARMS, SEEDS, PROBLEMS, SAMPLES)) < rng.random((1, 1, PROBLEMS, 1))
    score_ASP = passed_ASPN.mean(axis=3)
    matched = stats.matched_seed_variance(score_ASP.mean(axis=2))
    weight_RP = stats.problem_weights(PROBLEMS, RESAMPLES, rng)

    def whole_table() -> None:
        """What the report does for one context: four arms, three paired differences."""
        weights = stats.problem_weights(PROBLEMS, RESAMPLES, rng)
        pooled = stats.seed_variance(list(score_ASP))
        for arm_SP in score_ASP:
            stats.mean_resamples(arm_SP, weights, pooled, rng)
        for arm_SP in score_ASP[1:]:
            pair_ASP = np.stack([arm_SP, score_ASP[0]])
            stats.contrast_resamples(pair_ASP, np.array([1.0, -1.0]), weights, matched, rng)

    jobs: dict[str, Callable[[], object]] = {
        "problem weights": lambda: stats.problem_weights(PROBLEMS, RESAMPLES, rng),
        "one mean, weights given": lambda: weight_RP @ score_ASP[0].mean(axis=0),
        "bootstrap over problems and samples, 1 seed": lambda: simulate.hierarchical_bootstrap(
            passed_ASPN[0, :1], RESAMPLES, rng, ("problems", "samples")
        ),
        f"bootstrap over seeds, problems and samples, {SEEDS} seeds": lambda: simulate.hierarchical_bootstrap(
            passed_ASPN[0], RESAMPLES, rng, ("seeds", "problems", "samples")
        ),
        f"report's table at one context, {ARMS} arms x {SEEDS} seeds": whole_table,
    }
    print(f"{PROBLEMS} problems x {SAMPLES} samples, {RESAMPLES:,} resamples")
    for name, job in jobs.items():
        print(f"{seconds(job):8.3f} s  {name}")


if __name__ == "__main__":
    main()
