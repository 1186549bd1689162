"""How often intervals of forks hold the truth, by simulation: ``python -m benchmarks.fork_coverage``.

Outcomes are drawn on the scale of logits: a problem, an arm on a problem, an arm from a parent's state (the same in all
of its repeats), and an arm in one repeat. Every effect is symmetric, so the true difference of two arms over all
parents is 0; that of one parent follows from its own draws. "pooled" counts every branch as a unit of its own.
"""

from __future__ import annotations

import numpy as np

from ablate_analysis import stats
from ablate_analysis.forks import contrast

NUM_ARMS, NUM_PROBLEMS, NUM_SAMPLES = 4, 108, 4  # of experiments/fork_objective
PROBLEM, ON_PROBLEM = 1.0, 0.3
DESIGNS = ((4, 3, 0.3, 0.3), (4, 3, 0.0, 0.3), (4, 3, 0.3, 0.0), (2, 3, 0.3, 0.3), (8, 1, 0.3, 0.3), (1, 8, 0.3, 0.3))
NUM_EXPERIMENTS, RESAMPLES, CONFIDENCE = 1000, 1000, 0.95


def main() -> None:
    print("| parents x repeats | noise of parents, of repeats (logits) | over parents | pooled | this parent |")
    print("|---|---|---:|---:|---:|")
    for parents, repeats, of_parent, of_repeat in DESIGNS:
        shares = coverage(parents, repeats, of_parent, of_repeat, np.random.default_rng(0))
        shown = " | ".join("–" if np.isnan(share) else f"{share:.1%}" for share in shares)
        print(f"| {parents} x {repeats} | {of_parent}, {of_repeat} | {shown} |", flush=True)


def coverage(
    parents: int, repeats: int, of_parent: float, of_repeat: float, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Shares of the experiments whose interval holds the truth: over parents, with pooled units, of one parent."""
    inside = np.zeros(3)
    for _ in range(NUM_EXPERIMENTS):
        parent_AS = rng.normal(0, of_parent, (NUM_ARMS, parents))
        logit = parent_AS[:, :, None, None] + rng.normal(0, of_repeat, (NUM_ARMS, parents, repeats, 1))
        logit = logit + rng.normal(0, PROBLEM, (1, 1, 1, NUM_PROBLEMS))
        logit = logit + rng.normal(0, ON_PROBLEM, (NUM_ARMS, 1, 1, NUM_PROBLEMS))
        score_ASRP = rng.binomial(NUM_SAMPLES, 1 / (1 + np.exp(-logit))) / NUM_SAMPLES
        weight_RP = stats.problem_weights(NUM_PROBLEMS, RESAMPLES, rng)
        pooled_AUP = score_ASRP.reshape(NUM_ARMS, -1, NUM_PROBLEMS)
        around = rate(parent_AS[1, 0], of_repeat) - rate(parent_AS[0, 0], of_repeat)
        for place, (score_AUP, truth) in enumerate(
            ((score_ASRP.mean(axis=2), 0.0), (pooled_AUP, 0.0), (score_ASRP[:, 0], around))
        ):
            found = contrast(score_AUP, 1, weight_RP, CONFIDENCE, rng)
            inside[place] += found["low"] <= truth <= found["high"]
    share = inside / NUM_EXPERIMENTS
    return share[0] if parents > 1 else np.nan, share[1], share[2] if repeats > 1 else np.nan


def rate(logit: float, of_repeat: float) -> float:
    """Pass@1 over all problems and repeats of an arm whose parent gives it this logit."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    spread = np.sqrt(PROBLEM**2 + ON_PROBLEM**2 + of_repeat**2)
    return float((weights / (1 + np.exp(-(logit + spread * nodes)))).sum() / weights.sum())


if __name__ == "__main__":
    main()
