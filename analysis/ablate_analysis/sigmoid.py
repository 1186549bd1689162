"""Learning curves as sigmoids of compute: ``R = R0 + (A - R0) / (1 + (M / C)^B)`` (arXiv 2510.13786, equation 1).

C is compute on one named axis, R0 the score before training, A the asymptote, M the compute at half of the gain and B
the exponent. Points of one run are correlated, so their residuals say little about another run: every run is fitted by
itself, and intervals are Student's over the runs' parameters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ablate_analysis.paired import Estimate

Array = NDArray[np.float64]
MIN_POINTS = 5  # above the four parameters
PAST_THE_BEND = 4.0  # with less compute than four midpoints, the asymptote's interval is too wide to print
GRID_B = np.exp(np.linspace(math.log(0.25), math.log(6.0), 28))
NUM_MIDPOINTS = 60
ROUNDS = 5  # of refinement: the grid around the best pair shrinks to a third each time


@dataclass(frozen=True)
class Fit:
    """One run's fitted curve.

    Example:
        ``Fit(start=0.4, asymptote=0.62, midpoint=900, exponent=1.6, largest=9000, rms=0.004)``.
    """

    start: float  # R0
    asymptote: float  # A
    midpoint: float  # M, in units of the axis
    exponent: float  # B
    largest: float  # the largest C that was fitted
    rms: float  # of the residuals

    def at(self, compute: Array | float) -> Array:
        return self.start + (self.asymptote - self.start) * share_of_gain(
            np.asarray(compute), self.midpoint, self.exponent
        )

    def compute_to(self, level: float) -> float:
        """The compute at which the curve reaches a score; NaN above the asymptote or below the start."""
        share = (level - self.start) / (self.asymptote - self.start) if self.asymptote != self.start else math.nan
        return self.midpoint * (share / (1 - share)) ** (1 / self.exponent) if 0 < share < 1 else math.nan

    @property
    def is_identified(self) -> bool:
        """Whether the run is far enough past its bend, and not at the bound, for its asymptote to mean something."""
        return self.largest >= PAST_THE_BEND * self.midpoint and 0.0 < self.asymptote < 1.0


def share_of_gain(compute: Array, midpoint: float | Array, exponent: float | Array) -> Array:
    with np.errstate(divide="ignore", over="ignore"):
        return 1.0 / (1.0 + (midpoint / compute) ** exponent)


def fit(compute: Sequence[float], score: Sequence[float], start: float | None = None) -> Fit | None:
    """Fit one run by least squares, or return None with fewer than five points after the start.

    For a given B and M the rest is linear in A, so a grid over log B and log M finds the best pair, and finer grids
    around it refine it. A is kept in 0 .. 1.

    Args:
        start: R0; the score at compute 0 where the curve has one, else the first score.
    """
    compute_T, score_T = np.asarray(compute, float), np.asarray(score, float)
    if start is None:
        start = float(score_T[np.argmin(compute_T)])
    past = compute_T > 0
    compute_T, score_T = compute_T[past], score_T[past]
    if len(np.unique(compute_T)) < MIN_POINTS:
        return None
    log_b = np.log(GRID_B)
    log_m = np.linspace(math.log(compute_T.min() / 4), math.log(compute_T.max() * 4), NUM_MIDPOINTS)
    bounds = (log_b[0], log_b[-1]), (log_m[0], log_m[-1])
    for _ in range(ROUNDS + 1):
        errors, asymptotes = losses(compute_T, score_T, start, np.exp(log_b), np.exp(log_m))
        i, j = np.unravel_index(np.argmin(errors), errors.shape)
        best = float(asymptotes[i, j]), float(log_m[j]), float(log_b[i]), float(errors[i, j])
        log_b = around(log_b, i, bounds[0])
        log_m = around(log_m, j, bounds[1])
    asymptote, midpoint, exponent, error = best
    rms = math.sqrt(error / len(score_T))
    return Fit(start, asymptote, math.exp(midpoint), math.exp(exponent), float(compute_T.max()), rms)


def around(grid: Array, index: int, bounds: tuple[float, float]) -> Array:
    reach = 1.5 * (grid[1] - grid[0])
    return np.linspace(max(bounds[0], grid[index] - reach), min(bounds[1], grid[index] + reach), 21)


def losses(compute_T: Array, score_T: Array, start: float, exponents: Array, midpoints: Array) -> tuple[Array, Array]:
    """Sum of squares and the best asymptote for every pair of an exponent and a midpoint."""
    share = share_of_gain(compute_T, midpoints[None, :, None], exponents[:, None, None])
    gain = ((score_T - start) * share).sum(axis=2) / (share**2).sum(axis=2)
    asymptote = np.clip(start + gain, 0.0, 1.0)
    error = ((score_T - start - (asymptote - start)[:, :, None] * share) ** 2).sum(axis=2)
    return error, asymptote


def over_runs(values: Sequence[float]) -> Estimate:
    """Student's t over the runs' values."""
    value_S = np.asarray(values, float)
    if len(value_S) < 2:
        return Estimate(float(value_S.mean()) if len(value_S) else math.nan, ((math.nan, 0),))
    return Estimate(float(value_S.mean()), ((float(value_S.std(ddof=1) / math.sqrt(len(value_S))), len(value_S) - 1),))


def difference_over_runs(first: Sequence[float], second: Sequence[float], matched: bool) -> Estimate:
    """Second minus first: paired over matched runs, else Welch's over two independent sets of runs."""
    if matched:
        return over_runs(np.asarray(second, float) - np.asarray(first, float))
    a, b = over_runs(first), over_runs(second)
    if not (a.degrees and b.degrees):
        return Estimate(b.point - a.point, ((math.nan, 0),))
    whole = a.error**2 + b.error**2
    degrees = whole**2 / (a.error**4 / a.degrees + b.error**4 / b.degrees) if whole > 0 else a.degrees + b.degrees
    return Estimate(b.point - a.point, ((math.sqrt(whole), degrees),))


@dataclass(frozen=True)
class Extrapolation:
    """How well a fit to the first half of the compute predicts the second half; errors are measured minus predicted."""

    mean_error: float
    rms: float
    num_points: int


def extrapolation(compute: Sequence[float], score: Sequence[float], start: float | None = None) -> Extrapolation | None:
    compute_T, score_T = np.asarray(compute, float), np.asarray(score, float)
    first = compute_T <= compute_T.max() / 2
    half = fit(compute_T[first], score_T[first], start) if first.any() else None
    if half is None or first.all():
        return None
    error = score_T[~first] - half.at(compute_T[~first])
    return Extrapolation(float(error.mean()), float(np.sqrt((error**2).mean())), int((~first).sum()))


def common_level(fits: Sequence[Fit], score_of: Sequence[float]) -> float:
    """A score that every run reached: half of the smallest gain above the largest start.

    Args:
        score_of: the fitted score of every run at its largest compute.
    """
    start = max(each.start for each in fits)
    return start + (min(score_of) - start) / 2
