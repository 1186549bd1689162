"""Does a program's output match the expected output? Runs only outside the sandbox; outputs are untrusted bytes."""

from __future__ import annotations

import json
import re
from decimal import Decimal, InvalidOperation
from itertools import zip_longest
from typing import Any

# float() also accepts "nan", "infinity" and "1_000"; the checker of a contest does not.
DECIMAL = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
TOKEN = re.compile(rb"\S+")
MAX_INT_DIGITS = 4300  # CPython's own bound, because the conversion takes quadratic time


def numbers_agree(actual: float, expected: float, tolerance: float) -> bool:
    """Whether the relative or the absolute difference is within the tolerance."""
    return abs(actual - expected) <= max(tolerance, tolerance * abs(expected))


def tokens_agree(actual: bytes, expected: bytes, tolerance: float | None) -> bool:
    if tolerance is None or not (DECIMAL.fullmatch(actual) and DECIMAL.fullmatch(expected)):
        return False
    return numbers_agree(float(actual), float(expected), tolerance)


def compare_tokens(actual: bytes, expected: str, tolerance: float | None) -> bool:
    """Are the whitespace-separated tokens equal, or within ``tolerance`` where both are decimal numbers?

    It never holds more than one token of each side, because a hostile output may have millions of them.
    """
    actual_tokens = (match[0] for match in TOKEN.finditer(actual))
    expected_tokens = (match[0] for match in TOKEN.finditer(expected.encode("utf-8", "surrogatepass")))
    return all(
        left is not None and right is not None and (left == right or tokens_agree(left, right, tolerance))
        for left, right in zip_longest(actual_tokens, expected_tokens)
    )


def decimals(line: str) -> list[Decimal] | None:
    try:
        return [Decimal(token) for token in line.split()]
    except InvalidOperation:
        return None


def compare_lcb(actual: bytes, expected: str, tolerance: float | None) -> bool:
    """LiveCodeBench's rule (lcb_runner testing_util, grade_stdio): lines are equal as text or as Decimals.

    It knows no tolerance.
    """
    actual_lines = [line.strip() for line in actual.decode("utf-8", "replace").strip().split("\n")]
    expected_lines = [line.strip() for line in expected.strip().split("\n")]
    if len(actual_lines) != len(expected_lines):
        return False
    for left, right in zip(actual_lines, expected_lines, strict=True):
        if left == right:
            continue
        left_numbers, right_numbers = decimals(left), decimals(right)
        # Comparing a signalling NaN raises an error, and a quiet NaN is equal to nothing.
        if left_numbers is None or right_numbers is None or any(n.is_nan() for n in left_numbers + right_numbers):
            return False
        if left_numbers != right_numbers:
            return False
    return True


def compare_exact(actual: bytes, expected: str, tolerance: float | None) -> bool:
    return actual == expected.encode("utf-8", "surrogatepass")


COMPARISONS = {"tokens": compare_tokens, "lcb": compare_lcb, "exact": compare_exact}


def parse_json(text: str | bytes) -> Any:
    """Parse JSON from an untrusted program; very long integers stay text, because their conversion is slow.

    Raises:
        ValueError: not JSON.
        RecursionError: nested too deeply.
    """
    return json.loads(text, parse_int=lambda digits: int(digits) if len(digits) <= MAX_INT_DIGITS else ("int", digits))


def values_agree(actual: Any, expected: Any, tolerance: float | None) -> bool:
    if isinstance(actual, list) and isinstance(expected, list):
        return len(actual) == len(expected) and all(
            values_agree(left, right, tolerance) for left, right in zip(actual, expected, strict=True)
        )
    if isinstance(actual, dict) and isinstance(expected, dict):
        return actual.keys() == expected.keys() and all(
            values_agree(actual[key], expected[key], tolerance) for key in actual
        )
    if actual == expected:
        return True
    if tolerance is None or not (isinstance(actual, int | float) and isinstance(expected, int | float)):
        return False
    try:
        return numbers_agree(float(actual), float(expected), tolerance)
    except OverflowError:
        return False


def compare_json(actual: bytes, expected: str, tolerance: float | None) -> bool:
    """Compare the values of functional mode, both plain JSON. ``True`` equals 1 and 2 equals 2.0, as in Python."""
    try:
        return values_agree(parse_json(actual), parse_json(expected), tolerance)
    except (ValueError, RecursionError):
        return False
