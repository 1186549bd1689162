"""Simulated experiments with a known truth: how often do the intervals contain it?

Shapes as in ``ablate_analysis.stats``: A arms, S seeds, P problems, N samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ablate_analysis import stats


@dataclass(frozen=True)
class Design:
    """Standard deviations in logits. Every effect is symmetric, so each arm's true Pass@1 is one half."""

    num_seeds: int
    seed_deviation: float  # of a run around its arm
    first_factor: float = 1.0  # by which the first arm's runs scatter more
    shared_seed_deviation: float = 0.2  # of a seed, the same in every arm
    problem_deviation: float = 1.0
    interaction_deviation: float = 0.3  # of a problem within an arm
    num_arms: int = 4
    num_problems: int = 40
    num_samples: int = 8


@dataclass(frozen=True)
class Coverage:
    """Shares of the experiments in which an interval of nominally 95 % held the truth."""

    mean: float
    difference: float
    plain_mean: float  # by a plain bootstrap over seeds, problems and samples
    plain_difference: float  # by a plain bootstrap over seeds and problems


def simulated_arms(design: Design, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Draw the outcomes ``passed_ASPN`` of one experiment."""
    arms, seeds, problems = design.num_arms, design.num_seeds, design.num_problems
    logit = rng.normal(0, design.problem_deviation, (1, 1, problems))
    logit = logit + rng.normal(0, design.interaction_deviation, (arms, 1, problems))
    factor_A = np.array([design.first_factor, *[1.0] * (arms - 1)])
    logit = logit + rng.normal(0, design.seed_deviation, (arms, seeds, 1)) * factor_A[:, None, None]
    logit = logit + rng.normal(0, design.shared_seed_deviation, (1, seeds, 1))
    return rng.random((*logit.shape, design.num_samples)) < 1 / (1 + np.exp(-logit))[..., None]


def coverage(design: Design, num_experiments: int, resamples: int, seed: int) -> Coverage:
    """Simulate experiments and count how often each kind of interval holds the truth."""
    rng = np.random.default_rng(seed)
    inside = np.zeros(4)
    for _ in range(num_experiments):
        passed_ASPN = simulated_arms(design, rng)
        score_ASP = passed_ASPN.mean(axis=3)
        weight_RP = stats.problem_weights(design.num_problems, resamples, rng)
        pooled = stats.seed_variance(list(score_ASP))
        matched = stats.matched_seed_variance(score_ASP.mean(axis=2))
        levels = ("seeds", "problems", "samples")
        draws = (
            (0.5, stats.mean_resamples(score_ASP[0], weight_RP, pooled, rng)),
            (0.0, stats.contrast_resamples(score_ASP[:2], np.array([1.0, -1.0]), weight_RP, matched, rng)),
            (0.5, hierarchical_bootstrap(passed_ASPN[0], resamples, rng, levels)),
            (0.0, plain_difference(score_ASP[0] - score_ASP[1], weight_RP, rng)),
        )
        for index, (truth, resampled_R) in enumerate(draws):
            interval = stats.interval(truth, resampled_R, 0.95, (-1.0, 1.0))
            inside[index] += interval.low <= truth <= interval.high
    return Coverage(*(inside / num_experiments).tolist())


@dataclass(frozen=True)
class UnequalCoverage:
    """Shares of the experiments in which an interval held the truth, where the first arm's runs scatter more."""

    first_mean: float  # variance over seeds pooled over the arms, as reports make it
    first_difference: float  # between the first arm and another
    other_difference: float  # between two of the others
    own_mean: float  # of the first arm, by its own variance alone
    own_difference: float  # between the first arm and another, by the seeds of these two alone
    width: float  # median width of first_difference, and of own_difference
    own_width: float


def unequal_coverage(design: Design, num_experiments: int, resamples: int, seed: int) -> UnequalCoverage:
    """What pooling costs where the arms' variances differ, and what it would cost not to pool."""
    rng = np.random.default_rng(seed)
    inside, widths = np.zeros(5), []
    sign = np.array([1.0, -1.0])
    for _ in range(num_experiments):
        score_ASP = simulated_arms(design, rng).mean(axis=3)
        weight_RP = stats.problem_weights(design.num_problems, resamples, rng)
        pooled, matched = stats.seed_variance(list(score_ASP)), stats.matched_seed_variance(score_ASP.mean(axis=2))
        own, pair = stats.seed_variance([score_ASP[0]]), stats.matched_seed_variance(score_ASP[:2].mean(axis=2))
        draws = (
            (0.5, stats.mean_resamples(score_ASP[0], weight_RP, pooled, rng)),
            (0.0, stats.contrast_resamples(score_ASP[:2], sign, weight_RP, matched, rng)),
            (0.0, stats.contrast_resamples(score_ASP[1:3], sign, weight_RP, matched, rng)),
            (0.5, stats.mean_resamples(score_ASP[0], weight_RP, own, rng)),
            (0.0, stats.contrast_resamples(score_ASP[:2], sign, weight_RP, pair, rng)),
        )
        found = [stats.interval(truth, resampled_R, 0.95, (-1.0, 1.0)) for truth, resampled_R in draws]
        inside += [each.low <= truth <= each.high for each, (truth, _) in zip(found, draws, strict=True)]
        widths.append((found[1].high - found[1].low, found[4].high - found[4].low))
    return UnequalCoverage(*(inside / num_experiments).tolist(), *np.median(widths, axis=0).tolist())


def hierarchical_bootstrap(
    passed_SPN: NDArray[np.bool_], resamples: int, rng: np.random.Generator, over: Sequence[str], k: int = 1
) -> stats.Array:
    """Resample the levels named in ``over`` ("seeds", "problems", "samples") and return the mean pass@k, ``mean_R``.

    Seeds and problems are drawn independently of each other (they are crossed, not nested: Owen 2007, doi
    10.1214/07-AOAS122), and samples afresh within every drawn pair: n Bernoulli draws at the observed rate are one
    binomial count.
    With ``over=("samples",)`` the spread is what evaluating the same checkpoints again would give.
    """
    num_seeds, num_problems, num_samples = passed_SPN.shape
    correct_SP = passed_SPN.sum(axis=2)
    seed_RS = _drawn(rng, resamples, num_seeds, "seeds" in over)
    problem_RP = _drawn(rng, resamples, num_problems, "problems" in over)
    total_R = np.zeros(resamples)
    table = stats.pass_at_k_table(num_samples, k)
    for seed_R in seed_RS.T:
        count_RP = correct_SP[seed_R[:, None], problem_RP]
        if "samples" in over:
            count_RP = rng.binomial(num_samples, count_RP / num_samples)
        total_R += table[count_RP].mean(axis=1)
    return total_R / num_seeds


def _drawn(rng: np.random.Generator, resamples: int, size: int, resampled: bool) -> NDArray[np.int64]:
    if resampled:
        return rng.integers(size, size=(resamples, size))
    return np.broadcast_to(np.arange(size), (resamples, size))


def plain_difference(difference_SP: stats.Array, weight_RP: stats.Array, rng: np.random.Generator) -> stats.Array:
    """The usual method: resample matched seeds and problems with replacement."""
    num_seeds = len(difference_SP)
    seed_RS = rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size=len(weight_RP)) / num_seeds
    return np.einsum("rp,rp->r", weight_RP, seed_RS @ difference_SP)
