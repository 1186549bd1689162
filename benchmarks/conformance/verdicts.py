"""Is a trainer's vector ours? Equal, equal up to one factor, or different, with the gap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

TOLERANCE = 1e-6  # of the largest value


@dataclass(frozen=True)
class Verdict:
    """``kind`` is equal, factor, different or refused; ``factors`` are those that were met, rounded."""

    kind: str
    factors: tuple[float, ...] = ()
    gap: float = 0.0  # the largest, as a share of the largest value
    sentence: str = ""  # why it was refused


def compare(ours: Sequence[float], theirs: Sequence[float]) -> Verdict:
    """One vector with another."""
    a, b = np.asarray(ours, float), np.asarray(theirs, float)
    if not np.isfinite(b).all():
        return Verdict("different", gap=math.inf)
    gap = float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-300))
    if gap <= TOLERANCE:
        return Verdict("equal", gap=gap)
    factor = float(a @ b / max(a @ a, 1e-300))
    if np.abs(b - factor * a).max() <= TOLERANCE * max(np.abs(b).max(), 1e-300):
        return Verdict("factor", (round(factor, 6),), gap)
    return Verdict("different", gap=gap)


def compare_rows(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]], by_row: bool) -> Verdict:
    """Gradients of all rows; ``by_row``: each row by itself, so that a huge one cannot hide the others."""
    if not by_row:
        return compare([x for row in ours for x in row], [x for row in theirs for x in row])
    pairs = [(a, b) for a, b in zip(ours, theirs, strict=True) if max(map(abs, [*a, *b])) > 0]
    return max((compare(a, b) for a, b in pairs), key=lambda each: each.gap)


def overall(found: Sequence[Verdict]) -> Verdict:
    """Of all batches and splits: the worst kind, every factor and the largest gap."""
    kinds = {each.kind for each in found}
    kind = next(each for each in ("refused", "different", "factor", "equal") if each in kinds)
    if kind == "refused" and kinds != {"refused"}:
        kind = "different"
    factors = sorted({factor for each in found for factor in each.factors})
    sentence = next((each.sentence for each in found if each.sentence), "")
    return Verdict(kind, tuple(factors), max(each.gap for each in found), sentence)
