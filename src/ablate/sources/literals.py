"""Bounded parsing of columns that hold JSON, or a Python literal, as text.

Both parsers see untrusted text. JSON is bounded by its size and by CPython's recursion limit. ``ast.literal_eval``
executes nothing, but its syntax tree takes hundreds of bytes per element, so elements and nesting are counted first.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Callable
from typing import Any

from ablate.sources.reasons import Reason, Refused, shown

MAX_CHARACTERS = 512 * 2**20  # the largest row known decodes to 189 MB
MAX_INT_DIGITS = 4300  # CPython's own bound: converting longer text takes quadratic time
MAX_LITERAL_ELEMENTS = 2**20  # about 500 bytes of syntax tree each
MAX_LITERAL_DEPTH = 100

STRING = r"'[^'\\]*(?:\\.[^'\\]*)*'" + "|" + r'"[^"\\]*(?:\\.[^"\\]*)*"'
STRUCTURE = re.compile(rf"{STRING}|[\[({{]|[\])}}]|[,+\-~*/|&]", re.DOTALL)


def parse_json(text: str, parse_int: Callable[[str], Any] | None = None) -> Any:
    """Parse strict JSON: no NaN, no Infinity; integers stay text where ``parse_int`` is ``str``.

    Raises:
        Refused: bad_json, too_large, too_deep, not_finite or huge_integer.
    """
    check_size(text)
    try:
        return json.loads(
            text, parse_constant=refuse_constant, parse_float=finite_float, parse_int=parse_int or short_integer
        )
    except ValueError as error:
        raise Refused(Reason.bad_json, str(error)) from error
    except RecursionError as error:
        raise Refused(Reason.too_deep, "nested beyond the parser's limit") from error


def parse_json_or_literal(text: str) -> Any:
    r"""Parse JSON, and only where that fails a Python literal: the two read escapes such as ``\/`` differently.

    Raises:
        Refused: as ``parse_json``.
    """
    try:
        return parse_json(text)
    except Refused as refused:
        if refused.reason is not Reason.bad_json:
            raise
    check_literal_bounds(text)
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError) as error:
        raise Refused(Reason.bad_json, "neither JSON nor a Python literal") from error
    except (RecursionError, MemoryError) as error:
        raise Refused(Reason.too_deep, "nested beyond the parser's limit") from error


def check_size(text: str) -> None:
    if len(text) > MAX_CHARACTERS:
        raise Refused(Reason.too_large, f"{len(text)} characters, more than {MAX_CHARACTERS}")


def check_literal_bounds(text: str) -> None:
    depth = 0
    for elements, match in enumerate(STRUCTURE.finditer(text)):
        token = match[0]
        if token in "[({":
            depth += 1
        elif token in "])}":
            depth -= 1
        if depth > MAX_LITERAL_DEPTH:
            raise Refused(Reason.too_deep, f"a literal of more than {MAX_LITERAL_DEPTH} levels")
        if elements > MAX_LITERAL_ELEMENTS:
            raise Refused(Reason.too_large, f"a literal of more than {MAX_LITERAL_ELEMENTS} elements")


def refuse_constant(name: str) -> float:
    raise Refused(Reason.not_finite, name)


def finite_float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise Refused(Reason.not_finite, digits[:40])
    return value


def short_integer(digits: str) -> int:
    if len(digits) > MAX_INT_DIGITS:
        raise Refused(Reason.huge_integer, f"{len(digits)} digits")
    return int(digits)


def encode_value(value: Any) -> str:
    """Return the compact JSON text of a value, in which every type survives a round trip.

    Raises:
        Refused: not_json, non_string_keys, not_finite, lone_surrogate, huge_integer or too_deep.
    """
    try:
        check_value(value)
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except RecursionError as error:
        raise Refused(Reason.too_deep, "a value nested beyond the encoder's limit") from error
    return check_unicode(text)


def check_value(value: Any) -> None:
    if isinstance(value, list):
        for each in value:
            check_value(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            if not isinstance(key, str):
                raise Refused(Reason.non_string_keys, f"key {shown(key)}")
            check_value(each)
    elif isinstance(value, float) and not math.isfinite(value):
        raise Refused(Reason.not_finite, str(value))
    elif isinstance(value, int) and abs(value) >= 10**MAX_INT_DIGITS:
        raise Refused(Reason.huge_integer, f"about {value.bit_length() * 3 // 10} digits")
    elif value is not None and not isinstance(value, str | int | float):
        raise Refused(Reason.not_json, type(value).__name__)


def check_unicode(text: str) -> str:
    """Return ``text`` unchanged.

    Raises:
        Refused: lone_surrogate, where UTF-8 cannot hold the text.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Refused(Reason.lone_surrogate, str(error)[:200]) from error
    return text
