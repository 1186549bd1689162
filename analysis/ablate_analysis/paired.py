"""Two models on the same problems: differences, intervals, p-values, and what would be enough to detect one.

One run of each model, so an interval covers other problems and other samples, and not another training run. The spread
of the problems' differences contains the noise of their samples: nothing is resampled a second time. Axes: P problems,
G clusters of problems. Scores are shares.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ablate.evals.passk import pass_at_k
from ablate_analysis.stats import Interval

Array = NDArray[np.float64]


DRAWS = 100_000  # of a sum of two independent errors, whose quantiles have no closed form
DRAWS_SEED = 0


@dataclass(frozen=True)
class Estimate:
    """A mean with its independent errors, each a standard error with its degrees of freedom (0: unknown).

    Example:
        ``Estimate(0.032, ((0.01, 399),))``: 3.2 points, with a standard error of 1 over 400 problems; a second error
        would be that of the training runs.
    """

    point: float
    errors: tuple[tuple[float, float], ...]

    @property
    def error(self) -> float:
        return math.sqrt(sum(error**2 for error, _ in self.errors))

    @property
    def degrees(self) -> float:
        """Satterthwaite's degrees of freedom of the sum; 0 if an error is unknown."""
        if any(degrees <= 0 for _, degrees in self.errors):
            return 0
        squares = sum(error**4 / degrees for error, degrees in self.errors)
        return self.error**4 / squares if squares > 0 else min(degrees for _, degrees in self.errors)

    @property
    def draws(self) -> Array:
        """Student's errors, drawn and added, the same ones at every call."""
        rng = np.random.default_rng(DRAWS_SEED)
        return sum((error * rng.standard_t(degrees, DRAWS) for error, degrees in self.errors), np.zeros(DRAWS))

    def interval(self, confidence: float, bounds: tuple[float, float] = (-1.0, 1.0)) -> Interval:
        """Student's interval, cut at the bounds that the quantity has."""
        if self.degrees <= 0:
            return Interval(self.point, *bounds)
        if len(self.errors) == 1:
            half = t_quantile(1 - (1 - confidence) / 2, self.degrees) * self.error
        else:
            half = float(np.quantile(np.abs(self.draws), confidence))
        return Interval(self.point, max(self.point - half, bounds[0]), min(self.point + half, bounds[1]))

    @property
    def p(self) -> float:
        """Two-sided p-value of a mean of 0."""
        from scipy.special import stdtr

        if self.degrees <= 0:
            return math.nan
        if self.error == 0:
            return 1.0 if self.point == 0 else 0.0
        if len(self.errors) > 1:
            beyond = int((np.abs(self.draws) >= abs(self.point)).sum())
            return min(1.0, (beyond + 1) / (DRAWS + 1))
        return float(2 * stdtr(self.degrees, -abs(self.point) / self.error))

    def detectable(self, confidence: float, power: float) -> float:
        """The true difference that a test with this error detects with probability ``power``."""
        if self.degrees <= 0:
            return math.inf
        return quantiles(self.degrees, confidence, power) * self.error

    def with_error(self, error: float, degrees: float) -> Estimate:
        """The estimate with one more independent error."""
        return Estimate(self.point, (*self.errors, (error, degrees)))


def of_equal_differences(point: float, num_problems: int, confidence: float) -> tuple[Interval, float]:
    """Interval and p where every problem has the same difference, so that nothing is known of their spread.

    As in Clopper and Pearson's interval, a share ``margin`` of all problems may differ in any way without one of them
    having been drawn. p is that of the sign test.
    """
    margin = 1.0 - ((1.0 - confidence) / 2) ** (1.0 / num_problems)
    interval = Interval(point, point - margin * (1 + point), point + margin * (1 - point))
    return interval, 1.0 if point == 0 else min(1.0, 2 * 0.5**num_problems)


def t_quantile(share: float, degrees: float) -> float:
    from scipy.special import ndtri, stdtrit

    return float(ndtri(share) if math.isinf(degrees) else stdtrit(degrees, share))


def quantiles(degrees: float, confidence: float, power: float) -> float:
    return t_quantile(1 - (1 - confidence) / 2, degrees) + t_quantile(power, degrees)


def mean_over_problems(value_P: Array, clusters: Sequence[str] | None = None) -> Estimate:
    """The mean of one number per problem.

    With clusters the residuals are summed by cluster: ``sqrt(G/(G-1) sum_g (sum_i in g (d_i - mean))^2) / P``, with
    G - 1 degrees of freedom. With clusters of one problem this is the usual ``sd / sqrt(P)``.
    """
    count = len(value_P)
    mean = float(value_P.mean())
    residual = value_P - mean
    if clusters is not None:
        _, place_P = np.unique(np.asarray(clusters), return_inverse=True)
        residual = np.bincount(place_P, weights=residual)
    groups = len(residual)
    if groups < 2:
        return Estimate(mean, ((math.nan, 0),))
    error = math.sqrt(groups / (groups - 1) * float((residual**2).sum())) / count
    return Estimate(mean, ((error, groups - 1),))


def pass_at_k_of(correct_P: NDArray[np.int64], verified_P: NDArray[np.int64], k: int) -> Array:
    """The unbiased pass@k of every problem from its numbers of passed and of verified samples."""
    table = {
        pair: pass_at_k(pair[1], pair[0], k) for pair in set(zip(correct_P.tolist(), verified_P.tolist(), strict=True))
    }
    return np.array([table[pair] for pair in zip(correct_P.tolist(), verified_P.tolist(), strict=True)])


def sampling_error(rate_AP: Array, count_AP: Array) -> float:
    """Standard error of a difference if the same two models answered the same problems again; NaN with one sample.

    Of n samples, ``p (1 - p) / (n - 1)`` estimates the variance of their mean without bias.
    """
    if (count_AP < 2).any():
        return math.nan
    return float(math.sqrt((rate_AP * (1 - rate_AP) / (count_AP - 1)).sum(axis=0).mean() / rate_AP.shape[1]))


def mcnemar_mid_p(gained: int, lost: int) -> float:
    """McNemar's mid-p of the discordant counts: half of the observed outcome's probability counts (Fagerland 2013)."""
    from scipy.special import bdtr

    count, low = gained + lost, min(gained, lost)
    if count == 0:
        return 1.0
    at = math.exp(math.lgamma(count + 1) - math.lgamma(low + 1) - math.lgamma(count - low + 1) + count * math.log(0.5))
    return min(1.0, 2 * float(bdtr(low, count, 0.5)) - at)


def needed_problems(difference_P: Array, target: float, confidence: float, power: float) -> int | None:
    """Problems of the same kind that detect a difference of ``target``; None for a difference of 0."""
    if target == 0 or len(difference_P) < 2:
        return None
    factor = quantiles(len(difference_P) - 1, confidence, power)
    return math.ceil(float(difference_P.var(ddof=1)) * factor**2 / target**2)


def needed_samples(
    difference_P: Array, rate_AP: Array, num_samples: float, target: float, confidence: float, power: float
) -> int | None:
    """Samples of each problem that detect ``target`` on the problems at hand; None if no number of samples does.

    The variance of a problem's difference is ``problems + samples / N``, with
    ``samples = N / (N - 1) x mean(a (1 - a) + b (1 - b))``.
    """
    count = len(difference_P)
    if target == 0 or count < 2 or num_samples < 2:
        return None
    noise = float((rate_AP * (1 - rate_AP)).sum(axis=0).mean()) * num_samples / (num_samples - 1)
    between = max(0.0, float(difference_P.var(ddof=1)) - noise / num_samples)
    room = count * (target / quantiles(count - 1, confidence, power)) ** 2 - between
    return math.ceil(noise / room) if room > 0 else None


def ratio_resamples(top_AP: Array, bottom_AP: Array, resamples: int, seed: int) -> Array:
    """Resampled ``sum(top) / sum(bottom)`` of every arm over the same drawn problems: ``ratio_RA``."""
    rng = np.random.default_rng(seed)
    count = top_AP.shape[1]
    weight_RP = rng.multinomial(count, np.full(count, 1 / count), resamples).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (weight_RP @ top_AP.T) / (weight_RP @ bottom_AP.T)
