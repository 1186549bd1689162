"""What a score is worth: intervals, paired differences and p-values.

Axes: A arms (cells), S seeds (training runs), P problems, N samples of one problem, R resamples. Scores are shares.

The design is crossed: every run answers the same problems. A mean over S runs and P problems then has the variance

    V = s2 / S + b2 / P

where s2 is the variance of the runs' means (training seed, noise of the samples) and b2 the variance of the problems'
means. A bootstrap is right for the problems, but not for two or three seeds: resampling S values gives (S-1)/S of their
variance and normal tails, so an interval over 2 seeds covers far less than it claims. The error from the seeds is
therefore drawn from Student's t, with s2 pooled over the arms of the experiment (as in a two-way analysis of variance).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ablate.errors import UserError
from ablate.evals.passk import pass_at_k

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A point estimate with a confidence interval."""

    point: float
    low: float
    high: float


@dataclass(frozen=True)
class SeedVariance:
    """Variance of one run's mean around its arm's mean, and the degrees of freedom of the estimate (0: unknown)."""

    variance: float
    degrees: int


def pass_at_k_table(num_samples: int, k: int) -> Array:
    """Unbiased pass@k for every number of correct samples, 0 .. n.

    Raises:
        UserError: if k exceeds the number of samples.
    """
    if not 1 <= k <= num_samples:
        raise UserError(f"pass@{k} needs 1 <= k <= {num_samples} samples per problem: sample more or lower k")
    return np.array([pass_at_k(num_samples, num_correct, k) for num_correct in range(num_samples + 1)])


def score_table(passed_SPN: NDArray[np.bool_], verified_SPN: NDArray[np.bool_], k: int) -> Array:
    """Return the pass@k of every run on every problem, ``score_SP``, over the samples that have a verdict."""
    correct_SP, verified_SP = (passed_SPN & verified_SPN).sum(axis=2), verified_SPN.sum(axis=2)
    score_SP = np.empty(correct_SP.shape)
    for num_samples in np.unique(verified_SP):
        here_SP = verified_SP == num_samples
        score_SP[here_SP] = pass_at_k_table(int(num_samples), k)[correct_SP[here_SP]]
    return score_SP


def problem_weights(num_problems: int, resamples: int, rng: np.random.Generator) -> Array:
    """Return ``weight_RP``: how often each problem was drawn, divided by P. Rows sum to 1.

    One matrix serves all arms, which pairs them.
    """
    drawn_RP = rng.integers(num_problems, size=(resamples, num_problems), dtype=np.int64)
    drawn_RP += np.arange(resamples)[:, None] * num_problems
    counts = np.bincount(drawn_RP.ravel(), minlength=resamples * num_problems)
    return counts.reshape(resamples, num_problems) / num_problems


def seed_variance(scores: Sequence[Array]) -> SeedVariance:
    """Pool the variance between the runs of an arm over all arms (each ``score_SP``)."""
    means = [score_SP.mean(axis=1) for score_SP in scores]
    degrees = sum(len(mean_S) - 1 for mean_S in means)
    if degrees == 0:
        return SeedVariance(0.0, 0)
    squares = sum(float(((mean_S - mean_S.mean()) ** 2).sum()) for mean_S in means)
    return SeedVariance(squares / degrees, degrees)


def matched_seed_variance(mean_AS: Array) -> SeedVariance:
    """Variance of one run's mean without the effects of its arm and its seed, which cancel in a paired difference.

    This is the residual mean square of arms x seeds. With two arms, the variance of the differences is twice as large.
    """
    num_arms, num_seeds = mean_AS.shape
    degrees = (num_arms - 1) * (num_seeds - 1)
    if degrees <= 0:
        return SeedVariance(0.0, 0)
    rest_AS = mean_AS - mean_AS.mean(axis=1, keepdims=True) - mean_AS.mean(axis=0, keepdims=True) + mean_AS.mean()
    return SeedVariance(float((rest_AS**2).sum()) / degrees, degrees)


def seed_draws(seeds: SeedVariance, num_seeds: int, resamples: int, rng: np.random.Generator) -> Array:
    """Draw the error of a mean over ``num_seeds`` runs; zeros where the variance is unknown."""
    if seeds.degrees == 0:
        return np.zeros(resamples)
    return rng.standard_t(seeds.degrees, size=resamples) * np.sqrt(seeds.variance / num_seeds)


def mean_resamples(score_SP: Array, weight_RP: Array, seeds: SeedVariance, rng: np.random.Generator) -> Array:
    """Resampled means of one arm, over problems and seeds."""
    error_R = seed_draws(seeds, len(score_SP), len(weight_RP), rng)
    return weight_RP @ score_SP.mean(axis=0) + error_R


def contrast_resamples(
    score_ASP: Array, coefficient_A: Array, weight_RP: Array, seeds: SeedVariance, rng: np.random.Generator
) -> Array:
    """Resampled ``sum_a coefficient_a x mean_a`` over arms with the same seeds and problems.

    Coefficients (1, -1) give the paired difference of two arms. ``seeds`` is the result of ``matched_seed_variance``.
    """
    contrast_SP = np.tensordot(coefficient_A, score_ASP, axes=1)
    scaled = SeedVariance(float((coefficient_A**2).sum()) * seeds.variance, seeds.degrees)
    return mean_resamples(contrast_SP, weight_RP, scaled, rng)


def interval(point: float, resampled_R: Array, confidence: float, bounds: tuple[float, float]) -> Interval:
    """Percentile interval, cut at the bounds that the quantity has."""
    tail = (1.0 - confidence) / 2
    low, high = np.quantile(resampled_R, [tail, 1.0 - tail])
    return Interval(float(point), float(max(low, bounds[0])), float(min(high, bounds[1])))


def unanimous_interval(point: float, num_problems: int, confidence: float) -> Interval:
    """Clopper and Pearson's (1934) interval of a score of exactly 0 or 1, where all resamples are equal.

    P problems stand for the number of trials, because samples and seeds of one problem are not independent.
    """
    margin = 1.0 - ((1.0 - confidence) / 2) ** (1.0 / num_problems)
    return Interval(point, 0.0, margin) if point == 0.0 else Interval(point, 1.0 - margin, 1.0)


def probability_of_improvement(difference_R: Array) -> float:
    """Share of the resampled differences above 0, ties as one half."""
    return float((difference_R > 0).mean() + 0.5 * (difference_R == 0).mean())


def two_sided_p(difference_R: Array) -> float:
    """Bootstrap p-value of no difference; never below 2 / (R + 1), the smallest value that R resamples can resolve."""
    beyond = min((difference_R <= 0).sum(), (difference_R >= 0).sum())
    return float(min(1.0, 2 * (beyond + 1) / (len(difference_R) + 1)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for several comparisons (Holm 1979): controls the chance of any false claim in the table."""
    order = np.argsort(p_values)
    scaled = np.asarray(p_values)[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(scaled))
    return adjusted.tolist()
