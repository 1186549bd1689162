"""What a law is: a function ``(objective, rollouts) -> deviation`` that holds up to its tolerance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ablate.objectives.base import Objective
from ablate.objectives.laws.step import StepRollouts

EXACT = 0.0
ROUNDING = 1e-9  # relative, float64

Deviation = Callable[[Objective, StepRollouts], float]


@dataclass(frozen=True)
class Law:
    """A law of objectives, by the name of its function in ``LAWS``."""

    deviation: Deviation
    tolerance: float
    says: str
    not_applicable: Callable[[Objective], str | None]  # why it says nothing about this objective, if so
    every: int  # of the random batches, it runs on one in so many


LAWS: dict[str, Law] = {}


def law(
    tolerance: float,
    says: str,
    not_applicable: Callable[[Objective], str | None] = lambda objective: None,
    every: int = 1,
) -> Callable[[Deviation], Deviation]:
    """Enter a function into ``LAWS``."""

    def enter(deviation: Deviation) -> Deviation:
        LAWS[deviation.__name__] = Law(deviation, tolerance, says, not_applicable, every)
        return deviation

    return enter
