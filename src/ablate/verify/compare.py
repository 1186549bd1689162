"""Does a program's output match the expected output? Runs only outside the sandbox; outputs are untrusted bytes.

Time and memory grow no faster than the two texts, and every comparison ends at the first difference. It may also be
given a limit of its own CPU time, which the program then has exceeded.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator
from decimal import MAX_EMAX, MIN_EMIN, ROUND_UP, Context, Decimal, InvalidOperation
from itertools import zip_longest
from typing import Any, AnyStr

from ablate.verify.jobs import BrokenTest
from ablate.verify.json_values import parse_json

# float() also accepts "nan", "infinity" and "1_000"; the checker of a contest does not. The possessive quantifiers
# never try a shorter run of digits again, so that a match takes linear time.
DECIMAL = re.compile(rb"[+-]?(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][+-]?\d++)?")
TOKEN = re.compile(rb"\S+")
WORD = re.compile(r"\S+")  # of the white space that str.split knows, as LiveCodeBench's comparison does
LINE = re.compile(r"(?<![^\n])[^\n]*")
# Rounded up, the difference of any two numbers is above an allowance of up to 100 digits exactly where it should be.
EXACT = Context(prec=100, rounding=ROUND_UP, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])
SURE = 1e-12  # floats decide where the difference is further than this from the tolerance, relative to the numbers
FLOAT_CHARACTERS = 300
LOOK_AFTER = 1024  # pairs
PIECE = 1 << 14
# Of the same JSON value one text may be so many times as long as another, and so many characters longer: escapes,
# blanks, more digits of a float.
JSON_FACTOR, JSON_SPARE = 32, 1024


class ComparisonTooSlow(Exception):
    """A comparison took more CPU time than it was given."""


class Clock:
    """Ends a comparison that takes more than ``limit_s`` seconds of this thread's CPU time."""

    def __init__(self, limit_s: float) -> None:
        self.end_s = time.thread_time() + limit_s
        self.limit_s = limit_s
        self.num_ticks = 0

    def tick(self) -> None:
        """Count one pair of values.

        Raises:
            ComparisonTooSlow: after the limit.
        """
        self.num_ticks += 1
        if self.num_ticks % LOOK_AFTER == 0 and time.thread_time() > self.end_s:
            raise ComparisonTooSlow(f"more than {self.limit_s:g} s of CPU to compare the output")


def pairs(
    pattern: re.Pattern[AnyStr], actual: AnyStr, expected: AnyStr, clock: Clock
) -> Iterator[tuple[AnyStr | None, AnyStr | None]]:
    """Both texts' matches side by side, None after the last one; holds one match of each."""
    for left, right in zip_longest(pattern.finditer(actual), pattern.finditer(expected)):
        clock.tick()
        yield left and left[0], right and right[0]


def without_common_lines(actual: AnyStr, expected: AnyStr, newline: AnyStr) -> tuple[AnyStr, AnyStr]:
    """Both texts from the line of their first difference on, or some lines before it."""
    same = 0
    while actual[same : same + PIECE] == expected[same : same + PIECE] and same < len(actual):
        same += PIECE
    begin = actual.rfind(newline, 0, same) + 1
    return actual[begin:], expected[begin:]


def numbers_agree(actual: Decimal | int, expected: Decimal | int, tolerance: float) -> bool:
    """Whether the relative or the absolute difference of two finite numbers of any size is within the tolerance."""
    difference = EXACT.abs(EXACT.subtract(actual, expected))
    return difference <= EXACT.multiply(Decimal(repr(tolerance)), EXACT.max(1, EXACT.abs(expected)))


def floats_agree(actual: bytes, expected: bytes, tolerance: float) -> bool | None:
    """As ``numbers_agree``, in a quarter of the time; None where only exact numbers can decide."""
    if len(actual) > FLOAT_CHARACTERS or len(expected) > FLOAT_CHARACTERS:
        return None
    left, right = float(actual), float(expected)
    difference, allowed = abs(left - right), tolerance * max(1.0, abs(right))
    doubt = SURE * (abs(left) + abs(right) + allowed)
    return difference <= allowed if abs(difference - allowed) > doubt and doubt < math.inf else None


def tokens_agree(actual: bytes, expected: bytes, tolerance: float) -> bool:
    if not (DECIMAL.fullmatch(actual) and DECIMAL.fullmatch(expected)):
        return False
    agree = floats_agree(actual, expected, tolerance)
    if agree is not None:
        return agree
    try:
        return numbers_agree(Decimal(actual.decode()), Decimal(expected.decode()), tolerance)
    except InvalidOperation:  # an exponent of more than 18 digits
        return False


def compare_tokens(
    actual: bytes,
    expected: str,
    tolerance: float | None = None,
    case_insensitive: bool = False,
    time_limit_s: float = math.inf,
) -> bool:
    """Are the whitespace-separated tokens equal, or within ``tolerance`` where both are decimal numbers?

    Args:
        case_insensitive: whether the letters A to Z equal a to z.
    """
    wanted = expected.encode("utf-8", "surrogatepass")
    if case_insensitive:
        actual, wanted = actual.lower(), wanted.lower()
    if actual.strip() == wanted.strip():
        return True
    actual, wanted = without_common_lines(actual, wanted, b"\n")
    return all(
        left == right
        or (tolerance is not None and left is not None and right is not None and tokens_agree(left, right, tolerance))
        for left, right in pairs(TOKEN, actual, wanted, Clock(time_limit_s))
    )


def lines_agree(actual: str, expected: str, clock: Clock) -> bool:
    """Whether two different lines hold equal Decimals. A quiet NaN equals nothing; a signalling one raises an error."""
    try:
        return all(
            left is not None and right is not None and Decimal(left) == Decimal(right)
            for left, right in pairs(WORD, actual, expected, clock)
        )
    except InvalidOperation:
        return False


def compare_lcb(
    actual: bytes,
    expected: str,
    tolerance: float | None = None,
    case_insensitive: bool = False,
    time_limit_s: float = math.inf,
) -> bool:
    """LiveCodeBench's rule (lcb_runner testing_util, grade_stdio): lines are equal as text or as Decimals.

    It knows neither tolerances nor cases.
    """
    text, wanted = actual.decode("utf-8", "replace").strip(), expected.strip()
    if text == wanted:
        return True
    if text.count("\n") != wanted.count("\n"):
        return False
    clock = Clock(time_limit_s)
    text, wanted = without_common_lines(text, wanted, "\n")
    lines = ((left.strip(), right.strip()) for left, right in pairs(LINE, text, wanted, clock))
    return all(left == right or lines_agree(left, right, clock) for left, right in lines)


def compare_exact(
    actual: bytes,
    expected: str,
    tolerance: float | None = None,
    case_insensitive: bool = False,
    time_limit_s: float = math.inf,
) -> bool:
    return actual == expected.encode("utf-8", "surrogatepass")


def values_agree(actual: Any, expected: Any, tolerance: float | None, clock: Clock) -> bool:
    """Compare two JSON values of any depth."""
    try:
        if actual == expected:
            return True
    except RecursionError:
        pass
    waiting = [iter([(actual, expected)])]  # pairs of values, those of the innermost containers last
    while waiting:
        pair = next(waiting[-1], None)
        if pair is None:
            waiting.pop()
            continue
        clock.tick()
        left, right = pair
        kinds = {type(left), type(right)}
        if kinds == {list} and len(left) == len(right):
            waiting.append(zip(left, right, strict=True))
        elif kinds == {dict} and left.keys() == right.keys():
            waiting.append(zip(left.values(), map(right.get, left), strict=True))
        elif not kinds.isdisjoint((list, dict)) or not leaves_agree(left, right, tolerance):
            return False
    return True


def leaves_agree(actual: Any, expected: Any, tolerance: float | None) -> bool:
    if actual == expected or tolerance is None:
        return actual == expected
    are_numbers = isinstance(actual, int | Decimal) and isinstance(expected, int | Decimal)
    return are_numbers and numbers_agree(actual, expected, tolerance)


def check_expected(expected: str, exact: bool = False) -> Any:
    """Return the value that a function should return.

    Raises:
        BrokenTest: when it is no JSON.
    """
    try:
        return parse_json(expected, exact)
    except ValueError as error:
        raise BrokenTest(f"its expected value is not JSON ({error}): correct it, or remove the test") from None


def compare_json(actual: bytes, expected: str, tolerance: float | None = None, time_limit_s: float = math.inf) -> bool:
    """Compare the values of functional mode, both plain JSON. ``True`` equals 1 and 2 equals 2.0, as in Python.

    Raises:
        BrokenTest: when ``expected`` is no JSON.
        ComparisonTooSlow: after ``time_limit_s`` of CPU time.
    """
    wanted = check_expected(expected, tolerance is not None)
    if len(actual) > JSON_FACTOR * len(expected) + JSON_SPARE:  # its value would take much more memory than its text
        return False
    clock = Clock(time_limit_s)
    try:
        value = parse_json(actual.decode(), exact=tolerance is not None, on_value=clock.tick)
    except ValueError:  # UnicodeDecodeError is one
        return False
    return values_agree(value, wanted, tolerance, clock)


COMPARISONS: dict[str, Callable[..., bool]] = {"tokens": compare_tokens, "lcb": compare_lcb, "exact": compare_exact}
