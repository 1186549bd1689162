"""The numbers of a comparison: scores, paired differences and pass@k. All are shares."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ablate.errors import UserError
from ablate_analysis import paired as statistics
from ablate_analysis.paired import Estimate
from ablate_analysis.results.arms import Arm
from ablate_analysis.results.pairing import Paired
from ablate_analysis.stats import (
    Interval,
    SeedVariance,
    holm,
    matched_seed_variance,
    seed_variance,
    unanimous_interval,
)

Array = NDArray[np.float64]
CURVE = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


@dataclass(frozen=True)
class Settings:
    """How a comparison is made."""

    confidence: float = 0.95
    power: float = 0.8
    resamples: int = 4000  # of ratios, the only numbers that are resampled
    seed: int = 0
    effect: float | None = None  # a difference of interest; None: the one that was found
    hours_per_run: float | None = None
    runs_match: bool = False  # whether runs of equal names share their order of problems and initialisation


@dataclass(frozen=True)
class Score:
    """Pass@k of one arm."""

    arm: str
    k: int
    point: float
    interval: Interval


@dataclass(frozen=True)
class Difference:
    """The second arm minus the first, paired by problem."""

    first: str
    second: str
    estimate: Estimate
    interval: Interval
    p: float
    p_holm: float
    detectable: float  # true difference that this comparison finds with probability ``power``
    sampling_error: float  # of the same two models on the same problems again; NaN with one sample
    needed: dict[str, int | None]  # problems, samples or runs that detect the difference of interest
    target: float  # the difference of interest
    gained: tuple[str, ...]  # problems that the second passes more often than not, and the first does not
    lost: tuple[str, ...]
    p_mcnemar: float  # mid-p; NaN with more than one sample
    covers_runs: bool  # whether the interval covers other training runs

    @property
    def is_detected(self) -> bool:
        return self.p_holm <= 0.05


@dataclass(frozen=True)
class Crossing:
    """Two arms whose pass@k curves cross between two k."""

    first: str
    second: str
    k: float
    ahead_below: str  # the arm with the higher pass@k below the crossing


def rates(arm: Arm, k: int = 1) -> Array:
    """pass@k of every run on every problem, ``rate_SP``; for k = 1 the mean score."""
    if k == 1:
        return arm.rate_SP
    rows = zip(arm.score_SP.astype(np.int64), arm.count_SP, strict=True)
    return np.stack([statistics.pass_at_k_of(score_P, count_P, k) for score_P, count_P in rows])


def estimate_of(rate_SP: Array, clusters: Sequence[str] | None, seeds: SeedVariance) -> Estimate:
    """The mean of one arm: problems vary, and so do runs where there are several (``V = s2 / S + b2 / P``)."""
    problems = statistics.mean_over_problems(rate_SP.mean(axis=0), clusters)
    return problems.with_error(math.sqrt(seeds.variance / len(rate_SP)), seeds.degrees) if seeds.degrees else problems


def gap_of(first_SP: Array, second_SP: Array, clusters: Sequence[str] | None, matched: SeedVariance | None) -> Estimate:
    """Second minus first. Matched runs are paired; otherwise the runs' variances add up (Welch).

    Args:
        matched: the variance of one run's mean without the effects of its arm and its seed, pooled over all arms; None
            where runs do not match.
    """
    problems = statistics.mean_over_problems(second_SP.mean(axis=0) - first_SP.mean(axis=0), clusters)
    if matched is not None:
        return problems.with_error(math.sqrt(2 * matched.variance / len(first_SP)), matched.degrees)
    parts = [(float(rate_SP.mean(axis=1).var(ddof=1)) / len(rate_SP), len(rate_SP) - 1)
             for rate_SP in (first_SP, second_SP) if len(rate_SP) > 1]  # fmt: skip
    variance = sum(value for value, _ in parts)
    if variance == 0:
        return problems
    degrees = variance**2 / sum(value**2 / freedom for value, freedom in parts if value > 0)
    return problems.with_error(math.sqrt(variance), degrees)


def is_equal_everywhere(estimate: Estimate) -> bool:
    return estimate.degrees > 0 and estimate.error == 0


def interval_and_p(estimate: Estimate, num_units: int, settings: Settings) -> tuple[Interval, float]:
    """Student's, or those of problems (or clusters of them) that all agree, whose spread is unknown."""
    if is_equal_everywhere(estimate):
        return statistics.of_equal_differences(estimate.point, num_units, settings.confidence)
    return estimate.interval(settings.confidence), estimate.p


def score_of(arm: Arm, k: int, clusters: Sequence[str] | None, settings: Settings) -> Score:
    rate_SP = rates(arm, k)
    estimate = estimate_of(rate_SP, clusters, seed_variance([rate_SP]))
    if estimate.point in (0.0, 1.0):
        return Score(arm.name, k, estimate.point,
                     unanimous_interval(estimate.point, rate_SP.shape[1], settings.confidence))  # fmt: skip
    return Score(arm.name, k, estimate.point, estimate.interval(settings.confidence, (0.0, 1.0)))


def shared_runs(paired: Paired, settings: Settings) -> tuple[str, ...]:
    """The runs that all arms have, where runs of equal names match; empty with fewer than two."""
    names = [run for run in paired.arms[0].runs if all(run in arm.runs for arm in paired.arms)]
    return tuple(names) if settings.runs_match and len(names) > 1 else ()


def take_runs(arm: Arm, names: Sequence[str]) -> Arm:
    chosen = [arm.runs.index(name) for name in names]
    return replace(arm, runs=tuple(names), count_SP=arm.count_SP[chosen], score_SP=arm.score_SP[chosen])


def difference(first: Arm, second: Arm, paired: Paired, settings: Settings) -> Difference:
    """The difference of two arms; ``first`` and ``second`` are two of ``paired.arms``."""
    one, two, matched = first, second, None
    if runs := shared_runs(paired, settings):
        one, two = take_runs(first, runs), take_runs(second, runs)
        matched = matched_seed_variance(np.stack([take_runs(arm, runs).rate_SP.mean(axis=1) for arm in paired.arms]))
    estimate = gap_of(one.rate_SP, two.rate_SP, paired.clusters, matched)
    difference_P = two.rate_SP.mean(axis=0) - one.rate_SP.mean(axis=0)
    rate_AP = np.stack([one.rate_SP.mean(axis=0), two.rate_SP.mean(axis=0)])
    count_AP = np.stack([one.count_SP.sum(axis=0), two.count_SP.sum(axis=0)])
    target = abs(settings.effect if settings.effect is not None else estimate.point)
    majority_AP = rate_AP > 0.5
    gained, lost = majority_AP[1] & ~majority_AP[0], majority_AP[0] & ~majority_AP[1]
    names = np.array(paired.problems, dtype=object)
    is_single = one.is_binary and two.is_binary and (count_AP == 1).all()
    interval, p = interval_and_p(estimate, len(set(paired.clusters or paired.problems)), settings)
    knows_spread = not is_equal_everywhere(estimate)
    return Difference(
        first=first.name,
        second=second.name,
        estimate=estimate,
        interval=interval,
        p=p,
        p_holm=p,
        detectable=estimate.detectable(settings.confidence, settings.power) if knows_spread else math.nan,
        sampling_error=statistics.sampling_error(rate_AP, count_AP)
        if one.has_samples and two.has_samples
        else math.nan,
        needed=needed(one, two, difference_P, rate_AP, count_AP, target, matched is not None, settings),
        target=target,
        gained=tuple(names[gained]),
        lost=tuple(names[lost]),
        p_mcnemar=statistics.mcnemar_mid_p(int(gained.sum()), int(lost.sum())) if is_single else math.nan,
        covers_runs=len(one.runs) > 1 and len(two.runs) > 1,
    )


def needed(first: Arm, second: Arm, difference_P: Array, rate_AP: Array, count_AP: NDArray[np.int64], target: float,
           matched: bool, settings: Settings) -> dict[str, int | None]:  # fmt: skip
    """How many problems, samples or runs would detect the difference of interest, each with the rest as it is.

    Counts that are there already are left out: then it is the adjustment for several comparisons that decides.
    """
    level = settings.confidence, settings.power
    there = {"problems": len(difference_P), "samples": int(np.median(count_AP)), "runs": len(first.runs)}
    has_samples = first.has_samples and second.has_samples
    found: dict[str, int | None] = {"problems": statistics.needed_problems(difference_P, target, *level)}
    if has_samples and (count_AP > 1).all() and len(first.runs) == len(second.runs) == 1:
        found["samples"] = statistics.needed_samples(difference_P, rate_AP, float(there["samples"]), target, *level)
    if has_samples and matched and target:
        from ablate_analysis import power

        design = power.difference_variance(np.stack([first.rate_SP, second.rate_SP]), int(np.median(first.count_SP)))
        found |= {what: power.needed(design, field, target, *level)
                  for what, field in (("runs", "num_seeds"), ("problems", "num_problems"))}  # fmt: skip
    return {what: count for what, count in found.items() if count is None or count > there[what]}


def differences(paired: Paired, pairs: Sequence[tuple[int, int]], settings: Settings) -> list[Difference]:
    """All differences, with Holm's adjustment over them."""
    found = [difference(paired.arms[first], paired.arms[second], paired, settings) for first, second in pairs]
    tested = [place for place, each in enumerate(found) if not math.isnan(each.p)]
    for place, adjusted in zip(tested, holm([found[place].p for place in tested]), strict=True):
        found[place] = replace(found[place], p_holm=adjusted)
    return found


def pass_at_k(paired: Paired, settings: Settings) -> list[Score]:
    """The curve of every arm, up to the smallest number of samples that every problem of every arm has."""
    if not all(arm.is_binary and arm.has_samples for arm in paired.arms):
        return []
    most = min(arm.min_samples for arm in paired.arms)
    ks = sorted({k for k in CURVE if k <= most} | {most})
    return [score_of(arm, k, paired.clusters, settings) for arm in paired.arms for k in ks]


def crossings(paired: Paired) -> list[Crossing]:
    """Where the curves of two arms cross, between two whole k by a straight line."""
    if not all(arm.is_binary and arm.has_samples for arm in paired.arms):
        return []
    most = min(arm.min_samples for arm in paired.arms)
    curves = np.array([[rates(arm, k).mean() for k in range(1, most + 1)] for arm in paired.arms])
    found = []
    for first in range(len(curves)):
        for second in range(first + 1, len(curves)):
            gap = curves[second] - curves[first]
            for k in range(1, most):
                low, high = gap[k - 1], gap[k]
                if low * high < 0:
                    ahead = paired.arms[second if low > 0 else first].name
                    found.append(
                        Crossing(paired.arms[first].name, paired.arms[second].name, k + low / (low - high), ahead)
                    )
    return found


def check_settings(settings: Settings) -> None:
    """Raise ``UserError`` for a number outside its range."""
    for name in ("confidence", "power"):
        value = getattr(settings, name)
        if not 0 < value < 1:
            raise UserError(f"{name}={value:g} must lie between 0 and 1: 0.95 is usual")
    if settings.effect is not None and not 0 < settings.effect < 1:
        raise UserError(f"effect={settings.effect:g} must lie between 0 and 1: 0.02 is two points")
    if settings.hours_per_run is not None and settings.hours_per_run <= 0:
        raise UserError(f"hours_per_run={settings.hours_per_run:g} must be above 0")
