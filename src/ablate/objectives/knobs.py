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


def share(example: float) -> Knob:
    return Knob(lambda value: 0 < value <= 1, "a number above 0 and at most 1", example)


def count_from_1(example: int) -> Knob:
    return Knob(lambda value: isinstance(value, int) and value >= 1, "a whole number from 1", example)


# In this order records write them. conf/objective/_toggles.yaml says what each one means.
KNOBS: dict[str, Knob] = {
    "clip_low": Knob(lambda value: 0 <= value <= 1, "a number between 0 and 1", 0.2),
    "clip_high": at_least_0(0.2),
    "eps": at_least_0(1e-6),
    "constant_length": above_0(100),
    "max_length": above_0(8),
    "buffer": above_0(4),
    "delta_low": at_least_0(0.05),
    "delta_high": at_least_0(0.05),
    "tau_positive": above_0(1.0),
    "tau_negative": above_0(1.05),
    "dual_clip": above_0(3.0),
    "k_positive": above_0(2.0),
    "lambda_positive": above_0(3.0),
    "k_negative": above_0(3.0),
    "lambda_negative": above_0(2.0),
    "log_clip_low": at_least_0(0.4),
    "log_clip_high": at_least_0(0.4),
    "weight_cap": above_0(3.0),
    "log_ratio_penalty": at_least_0(0.1),
    "pass_k": count_from_1(2),
    "keep_count": count_from_1(2),
    "max_divergence": at_least_0(0.1),
    "entropy_share": share(0.5),
    "max_second_moment": at_least_0(0.04),
    "cov_share": share(0.2),
    "cov_low": Knob(lambda value: value == value, "a number", 0.1),
    "cov_high": Knob(lambda value: value == value, "a number", 5.0),
    "kl_coef": at_least_0(0.05, of="kl"),
    "correction_cap": above_0(2.0, of="correction"),
    "correction_low": at_least_0(0.5, of="correction"),
    "correction_high": above_0(2.0, of="correction"),
}
# (knob, knob, whether the two fit, the rule in words)
PAIRS: tuple[tuple[str, str, Callable[[float, float], bool], str], ...] = (
    ("dual_clip", "clip_high", lambda dual, high: dual > 1 + high, "above 1 + clip_high"),
    ("correction_low", "correction_high", lambda low, high: low < high, "below correction_high"),
    ("cov_low", "cov_high", lambda low, high: low < high, "below cov_high"),
)


def check_knob(name: str, value: Any) -> None:
    """Raise ``UserError`` for a value against the rule of the knob."""
    if name not in KNOBS:
        return
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not KNOBS[name].holds(value):
        raise UserError(f"objective.{name} must be {KNOBS[name].rule}, not {value!r}")


def check_pairs(knobs: Mapping[str, Any]) -> None:
    """Raise ``UserError`` for two knobs that do not fit together."""
    for first, second, fits, rule in PAIRS:
        if first in knobs and second in knobs and not fits(knobs[first], knobs[second]):
            raise UserError(
                f"objective.{first}={knobs[first]} must be {rule}, and {second} is {knobs[second]}: change one of them"
            )


def in_order(knobs: Mapping[str, Any]) -> dict[str, Any]:
    """The knobs in the order of the table, then a user's own."""
    return {name: knobs[name] for name in (*KNOBS, *knobs) if name in knobs}
