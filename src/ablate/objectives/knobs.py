"""Every number that a part of this package reads: the one table of rules. A user's own knobs need no row here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ablate.errors import UserError


@dataclass(frozen=True)
class Knob:
    """The rule for a knob, in code and in words, and a value with which the tests try its parts."""

    holds: Callable[[float], bool]
    rule: str
    example: float
    of: str | None = None  # the term whose part reads it, in front of which records write it


def at_least_0(example: float, of: str | None = None) -> Knob:
    return Knob(lambda value: value >= 0, "a number 0 or above", example, of)


def above_0(example: float, of: str | None = None) -> Knob:
    return Knob(lambda value: value > 0, "a number above 0", example, of)


# In this order records write them. conf/objective/_toggles.yaml says what each one means.
KNOBS: dict[str, Knob] = {
    "clip_low": Knob(lambda value: 0 <= value <= 1, "a number between 0 and 1", 0.2),
    "clip_high": at_least_0(0.2),
    "eps": at_least_0(1e-6),
    "constant_length": above_0(100),
    "max_length": above_0(8),
    "buffer": above_0(4),
    "kl_coef": at_least_0(0.05, of="kl"),
    "correction_cap": above_0(2.0, of="correction"),
}


def check_knob(name: str, value: Any) -> None:
    """Raise ``UserError`` for a value against the rule of the knob."""
    if name not in KNOBS:
        return
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not KNOBS[name].holds(value):
        raise UserError(f"objective.{name} must be {KNOBS[name].rule}, not {value!r}")


def in_order(knobs: Mapping[str, Any]) -> dict[str, Any]:
    """The knobs in the order of the table, then a user's own."""
    return {name: knobs[name] for name in (*KNOBS, *knobs) if name in knobs}
