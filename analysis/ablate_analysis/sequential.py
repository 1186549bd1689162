"""Looking at accumulating seeds without raising the error rate: a group-sequential design for a paired t test.

Fixed before the first look: the largest number of matched seeds N, the looks, one contrast and one metric. At a look
with n seeds the usual paired t test over seeds is made, and its p is compared with a nominal level c_k. The levels
follow the O'Brien-Fleming type spending function of Lan and DeMets (1983),
``alpha(f) = 4 (1 - Phi(z_{1 - alpha/4} / sqrt f))`` with f = n / N.

The levels are exact for few seeds: under the null the path of t is free of the variance, so they are found by
simulating it. docs/statistics.md has the measured error rate and power.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ablate_analysis.stats import Interval

NUM_PATHS = 400_000  # an error of 0.03 points on a rate of 5 %
PATHS_SEED = 0
PATHS_AT_ONCE = 50_000


@dataclass(frozen=True)
class Design:
    """A declared design.

    Example:
        ``Design(looks=(4, 8, 12, 16), alpha=0.05, effect=0.1, futility=0.2)``: at most 16 seeds; a true difference of
        10 points matters.
    """

    looks: tuple[int, ...]  # numbers of matched seeds, the last is N
    alpha: float
    effect: float  # the smallest difference of interest, a share
    futility: float  # stop where the chance of a claim at N under ``effect`` falls below this; 0 never stops

    @property
    def most(self) -> int:
        return self.looks[-1]

    def next_look(self, num_seeds: int) -> int:
        """The first look at which there are at least so many seeds; N at the end."""
        return next((look for look in self.looks if look >= num_seeds), self.most)


@dataclass(frozen=True)
class Look:
    """One look: the estimate, its p, the level that it was compared with, and what follows.

    ``verdict`` is claim (the difference is real), futile (stop, nothing will be claimed), end (N seeds and no claim) or
    continue.
    """

    num_seeds: int
    estimate: float
    p: float
    level: float
    interval: Interval  # repeated: it holds over all looks together
    chance: float  # of a claim at N, were the true difference ``effect`` in the direction of the estimate
    verdict: str


def spent(fraction: float, alpha: float) -> float:
    """The error that may be spent until this fraction of the seeds."""
    from scipy.special import ndtr, ndtri

    return float(4 * ndtr(-ndtri(1 - alpha / 4) / math.sqrt(fraction)))


@lru_cache(maxsize=64)
def levels(looks: tuple[int, ...], most: int, alpha: float) -> tuple[float, ...]:
    """Nominal two-sided p at each look; ``most`` is N, of which the looks taken so far may be a part."""
    p_KR = null_p_values(looks)
    alive_R = np.ones(p_KR.shape[1], bool)
    found = []
    for place, look in enumerate(looks):
        if place == 0:
            level = spent(look / most, alpha)  # nothing was spent before
        else:
            room = spent(look / most, alpha) * len(alive_R) - (~alive_R).sum()
            ordered = np.sort(p_KR[place][alive_R])
            level = float(ordered[max(0, min(len(ordered) - 1, int(room) - 1))]) if room >= 1 else 0.0
        found.append(level)
        alive_R &= p_KR[place] > level
    return tuple(found)


def null_p_values(looks: tuple[int, ...]) -> NDArray[np.float64]:
    """Two-sided p of the t test at every look, of simulated paths without a difference: ``p_KR``."""
    from scipy.special import stdtr

    rng = np.random.default_rng(PATHS_SEED)
    parts = []
    for _ in range(NUM_PATHS // PATHS_AT_ONCE):
        value_RS = rng.standard_normal((PATHS_AT_ONCE, looks[-1]))
        parts.append(np.stack([2 * stdtr(look - 1, -np.abs(t_of(value_RS[:, :look]))) for look in looks]))
    return np.concatenate(parts, axis=1)


def t_of(value_RS: NDArray[np.float64]) -> NDArray[np.float64]:
    return value_RS.mean(axis=1) / (value_RS.std(axis=1, ddof=1) / math.sqrt(value_RS.shape[1]))


def look_at(difference_S: Sequence[float], taken: Sequence[int], design: Design) -> Look:
    """Look at the differences of matched seeds, in the order of the seeds.

    Args:
        taken: the looks before this one, in numbers of seeds. Moved looks are right: the spending needs only these.
    """
    from scipy.special import stdtr, stdtrit

    difference = np.asarray(difference_S, float)
    count = len(difference)
    looks = (*sorted({look for look in taken if 2 <= look < count}), count)
    level = levels(looks, max(design.most, count), design.alpha)[-1]
    mean, deviation = float(difference.mean()), float(difference.std(ddof=1))
    error = deviation / math.sqrt(count)
    p = float(2 * stdtr(count - 1, -abs(mean) / error)) if error > 0 else float(mean == 0)
    half = float(stdtrit(count - 1, 1 - level / 2)) * error if level > 0 else math.inf
    chance = chance_of_claim(mean, deviation, count, looks, design)
    verdict = "continue"
    if p <= level:
        verdict = "claim"
    elif count >= design.most:
        verdict = "end"
    elif chance < design.futility:
        verdict = "futile"
    return Look(count, mean, p, level, Interval(mean, max(mean - half, -1.0), min(mean + half, 1.0)), chance, verdict)


def chance_of_claim(mean: float, deviation: float, count: int, looks: tuple[int, ...], design: Design) -> float:
    """The chance that the last look claims the planned effect, from what was seen so far."""
    from scipy.special import ndtr, stdtrit

    rest = design.most - count
    if rest <= 0 or deviation == 0:
        return float(mean != 0)
    level = levels((*looks, design.most), design.most, design.alpha)[-1]
    bar = float(stdtrit(design.most - 1, 1 - level / 2)) * deviation / math.sqrt(design.most)
    expected = (count * abs(mean) + rest * design.effect) / design.most
    return float(ndtr((expected - bar) / (deviation * math.sqrt(rest) / design.most)))


def anytime_p(difference_S: Sequence[float], scale: float = 1.0) -> float:
    """A p-value that holds at every look, for sweeps that declared no design: 1 over the t test's e-value.

    The effect over its standard deviation has a normal prior of deviation ``scale`` (Lai 1976; Wang and Ramdas, arXiv
    2310.03722): ``E = (1 + n s^2)^(-1/2) [(1 + t^2/v) / (1 + t^2 / (v (1 + n s^2)))]^(n/2)`` with v = n - 1.
    """
    difference = np.asarray(difference_S, float)
    count = len(difference)
    if count < 2 or difference.std(ddof=1) == 0:
        return 1.0
    square = float(t_of(difference[None, :])[0]) ** 2
    free, widened = count - 1, 1 + count * scale**2
    log_e = -0.5 * math.log(widened) + count / 2 * (math.log1p(square / free) - math.log1p(square / (free * widened)))
    return min(1.0, math.exp(-log_e))
