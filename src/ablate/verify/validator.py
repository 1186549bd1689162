"""The validator that a contest package has without one of its own, with its flags.

Tokens are compared without regard to case. Where a tolerance is given and the expected token is a number, the answer's
must be one too, within the absolute or the relative tolerance (problem package format of Kattis).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import zip_longest

NUMBER = re.compile(rb"[+-]?(?:\d{1,400}\.?\d{0,400}|\.\d{1,400})(?:[eE][+-]?\d{1,3})?")
TOKEN, TOKEN_OR_SPACE = re.compile(rb"\S+"), re.compile(rb"\S+|\s")
TOLERANCES = ("float_tolerance", "float_absolute_tolerance", "float_relative_tolerance")
SWITCHES = ("case_sensitive", "space_change_sensitive")


@dataclass(frozen=True)
class Rules:
    """What the flags mean.

    Example: ``rules_of(("float_tolerance", "1e-6"))`` allows an absolute or a relative error of 1e-6. The two other
    tolerances allow one kind only; with both, either suffices.
    """

    case_sensitive: bool = False
    space_change_sensitive: bool = False
    absolute: Decimal | None = None
    relative: Decimal | None = None


def rules_of(flags: Sequence[str]) -> Rules:
    """Read validator flags.

    Raises:
        ValueError: for a flag that this validator does not have, or a tolerance without a number.
    """
    found: dict[str, bool] = {}
    bounds: dict[str, Decimal | None] = {"absolute": None, "relative": None}
    words = iter(flags)
    for word in words:
        if word in SWITCHES:
            found[word] = True
        elif word in TOLERANCES:
            number = next(words, "")
            if not NUMBER.fullmatch(number.encode()):
                raise ValueError(f"{word} needs a number, not {number!r}")
            for kind in bounds:
                if kind in word or word == "float_tolerance":
                    bounds[kind] = None if number.startswith("-") else Decimal(number)  # as Kattis' own does
        else:
            raise ValueError(f"{word!r} is no flag of the default validator")
    return Rules(**found, **bounds)


def accepts(rules: Rules, answer: bytes, expected: str) -> bool:
    """Whether an answer is the expected one; holds one token of each side at a time."""
    pattern = TOKEN_OR_SPACE if rules.space_change_sensitive else TOKEN
    pairs = zip_longest(tokens(pattern, answer), tokens(pattern, expected.encode("utf-8", "surrogatepass")))
    return all(left is not None and right is not None and same(rules, left, right) for left, right in pairs)


def tokens(pattern: re.Pattern[bytes], text: bytes) -> Iterator[bytes]:
    return (found[0] for found in pattern.finditer(text))


def same(rules: Rules, answer: bytes, expected: bytes) -> bool:
    if answer == expected:
        return True
    if (rules.absolute is not None or rules.relative is not None) and NUMBER.fullmatch(expected):
        return NUMBER.fullmatch(answer) is not None and is_near(
            rules, Decimal(answer.decode()), Decimal(expected.decode())
        )
    return not rules.case_sensitive and answer.lower() == expected.lower()


def is_near(rules: Rules, answer: Decimal, expected: Decimal) -> bool:
    error = abs(answer - expected)
    return (rules.absolute is not None and error <= rules.absolute) or (
        rules.relative is not None and error <= rules.relative * abs(expected)
    )
