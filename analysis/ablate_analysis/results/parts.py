"""The parts of a score: finish rate x pass rate of the finished, and Pass@1 by difficulty, platform and month."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ablate_analysis import paired as statistics
from ablate_analysis.render import difficulty_order
from ablate_analysis.results.numbers import Array, Settings, gap_of, interval_and_p
from ablate_analysis.results.pairing import Paired
from ablate_analysis.stats import Interval

STRATA = ("difficulty", "platform", "month")
MOST_STRATA = 40


@dataclass(frozen=True)
class Finishing:
    """Finish rate x pass given finished, of an arm and as differences from the first arm."""

    arm: str
    finished: float
    passed_finished: float
    passed_unfinished: float
    finished_gap: Interval | None
    passed_finished_gap: Interval | None


@dataclass(frozen=True)
class Stratum:
    """One group of problems: every arm's Pass@1, and differences from the first arm."""

    kind: str
    name: str
    num_problems: int
    points: tuple[float, ...]
    gaps: tuple[Interval | None, ...]


def finishing(paired: Paired, settings: Settings) -> list[Finishing]:
    """Only where every arm says which samples finished. Gaps are from the first arm, over the same drawn problems."""
    arms = paired.arms
    if not all(arm.finished_SP is not None for arm in arms):
        return []
    finished_AP, passed_AP, count_AP, score_AP = (
        np.stack([getattr(arm, name).sum(axis=0) for arm in arms]).astype(float)
        for name in ("finished_SP", "passed_finished_SP", "count_SP", "score_SP")
    )
    rate_RA = statistics.ratio_resamples(finished_AP, count_AP, settings.resamples, settings.seed)
    passed_RA = statistics.ratio_resamples(passed_AP, finished_AP, settings.resamples, settings.seed)
    found = []
    for place, arm in enumerate(arms):
        total = finished_AP[place].sum()
        found.append(
            Finishing(
                arm.name,
                total / count_AP[place].sum(),
                passed_AP[place].sum() / total if total else math.nan,
                (score_AP[place].sum() - passed_AP[place].sum()) / count_AP[place].sum(),
                resampled_gap(rate_RA, place, settings) if place else None,
                resampled_gap(passed_RA, place, settings) if place else None,
            )
        )
    return found


def resampled_gap(value_RA: Array, place: int, settings: Settings) -> Interval:
    gap_R = value_RA[:, place] - value_RA[:, 0]
    gap_R = gap_R[np.isfinite(gap_R)]
    if not len(gap_R):
        return Interval(math.nan, math.nan, math.nan)
    tail = (1 - settings.confidence) / 2
    low, high = np.quantile(gap_R, [tail, 1 - tail])
    return Interval(float(np.median(gap_R)), float(low), float(high))


def strata(paired: Paired, settings: Settings) -> list[Stratum]:
    """Pass@1 by difficulty, platform and month, where the results say them."""
    found = []
    for kind in STRATA:
        values = paired.facts(kind)
        names = sorted({value for value in values if value is not None}, key=difficulty_order)
        if not 1 < len(names) <= MOST_STRATA:
            continue
        for name in names:
            places = [place for place, value in enumerate(values) if value == name]
            here = [arm.rate_SP[:, places] for arm in paired.arms]
            clusters = None if paired.clusters is None else [paired.clusters[place] for place in places]
            units = len(set(clusters or places))
            gaps = [interval_and_p(gap_of(here[0], each, clusters, None), units, settings)[0]
                    if len(places) > 1 else None for each in here[1:]]  # fmt: skip
            found.append(Stratum(kind, name, len(places), tuple(float(each.mean()) for each in here), (None, *gaps)))
    return found
