"""Why a source rejects a row."""

from __future__ import annotations

import reprlib
from enum import StrEnum
from typing import Any


class Reason(StrEnum):
    """Why a source rejected a row. Curation has further reasons of its own."""

    bad_column = "bad_column"  # a column is missing or has another type than the format says
    empty_statement = "empty_statement"
    bad_json = "bad_json"  # neither JSON nor, where the format allows it, a Python literal
    bad_shape = "bad_shape"  # JSON, but not of the shape that the format describes
    too_large = "too_large"
    too_deep = "too_deep"
    no_tests = "no_tests"
    len_mismatch = "len_mismatch"  # more inputs than outputs, or fewer
    non_string = "non_string"  # a stdin test that is neither text nor a list of lines
    mixed_kinds = "mixed_kinds"  # stdin and function tests in one row, or two function names
    unknown_kind = "unknown_kind"
    no_fn_name = "no_fn_name"  # a function is asked for and its name is lost
    bad_fn_name = "bad_fn_name"  # not a Python identifier
    not_json = "not_json"  # a value that JSON has no type for: a tuple, a set, bytes
    non_string_keys = "non_string_keys"  # JSON would turn the keys of this dict into text
    not_finite = "not_finite"  # NaN or Infinity
    huge_integer = "huge_integer"  # more digits than CPython converts
    lone_surrogate = "lone_surrogate"  # text that UTF-8 cannot hold
    other_language = "other_language"
    other_task = "other_task"
    interactive = "interactive"
    scored = "scored"  # an answer earns points, and is neither right nor wrong
    bad_checker = "bad_checker"  # a checker of a kind that is not run here
    hostile_pickle = "hostile_pickle"  # a pickle of anything but one string


class Refused(Exception):
    """A row breaks a rule of its format; becomes a ``Rejected``, or a ``UserError`` where a row may not be lost."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail


def shown(value: Any) -> str:
    """A value in a few characters, whatever its size and depth; the same in every process."""
    return reprlib.repr(value)
