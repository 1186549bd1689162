"""The gap that a report explains."""

from __future__ import annotations

from dataclasses import dataclass

from ablate_analysis.outcomes import WARM_START


@dataclass(frozen=True)
class Gap:
    """Two cells at one context, the one with the higher score first; ``lower`` may be the warm start."""

    context: int
    upper: str
    lower: str
    point: float
    low: float
    high: float
    is_tested: bool  # over training seeds; else the interval is over problems only, and about these runs

    @property
    def is_gain(self) -> bool:
        return self.lower == WARM_START
