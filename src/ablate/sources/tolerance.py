"""How far a printed number may be from the expected one, as the statement says it."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from math import isfinite

from ablate.sources.notation import with_plain_numbers
from ablate.types import TestCase

BOUND = r"(?P<bound>0\.0*1\b|10\s*[-\u2212\u2013]\s*(?P<power>\d{1,2})\b)"  # of 10^-6 a scraper may leave 10-6
STATED = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"\b(?:errors?|precision|tolerance|accura\w+|within|differ\w*)\b(?:[^.!?]|\.\d){{0,120}}?{BOUND}",
        rf"{BOUND}\W{{0,4}}(?:\w+\W+){{0,3}}?(?:absolute|relative|allowed)\b",
    )
)
SMALLEST, LARGEST = 1e-12, 0.1
FRACTION = re.compile(r"[+-]?(?:\d*\.\d+|\d+\.)(?:[eE][+-]?\d+)?|[+-]?\d+[eE]-?\d+")


def stated_tolerance(statement: str) -> float | None:
    """The bound on the absolute or relative error that a statement names; None where it names none."""
    text = with_plain_numbers(html.unescape(statement))
    for pattern in STATED:
        found = pattern.search(text)
        if found:
            bound = 10.0 ** -int(found["power"]) if found["power"] else float(found["bound"])
            if SMALLEST <= bound <= LARGEST:
                return bound
    return None


def tolerance_of(statement: str, tests: Sequence[TestCase], of_source: float | None) -> float | None:
    """The ``float_tolerance`` of a problem: what the statement names, else what graders of its source allow.

    Outputs without a fraction are compared exactly. The bound of a source is on the absolute error, and a relative one
    of the same size would be larger for large outputs; so it is divided by the largest expected number.
    """
    numbers = [token for test in tests for token in re.split(r"[\s,\[\]]+", test.output) if FRACTION.fullmatch(token)]
    if not numbers:
        return None
    stated = stated_tolerance(statement)
    if stated is not None or of_source is None:
        return stated
    largest = max((abs(value) for value in map(float, numbers) if isfinite(value)), default=1.0)
    return of_source / max(1.0, largest)
