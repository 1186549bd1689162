"""JSON of any depth, with numbers of any size: what functions take and return in functional mode."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator
from decimal import Decimal, InvalidOperation
from json.decoder import scanstring
from typing import Any

MAX_INT_DIGITS = 4300  # CPython's own bound, because the conversion takes quadratic time
BLANKS = re.compile(r"[ \t\n\r]*")
NUMBER = re.compile(r"(-?(?:0|[1-9][0-9]*))(\.[0-9]+)?([eE][-+]?[0-9]+)?")
WORDS = {"true": True, "false": False, "null": None}
WORD = re.compile("true|false|null|NaN|-?Infinity")  # json.loads reads all of them

Reader = Generator["Reader", tuple[Any, int], tuple[Any, int]]  # returns a value and the place after it


def whole(digits: str) -> int | Decimal:
    return int(digits) if len(digits) <= MAX_INT_DIGITS else Decimal(digits)


def parse_json(text: str, exact: bool = False, on_value: Callable[[], None] = lambda: None) -> Any:
    """Parse JSON of any depth as ``json.loads`` does; integers of more than 4,300 digits become Decimals.

    Args:
        exact: also make Decimals of numbers with a fraction or an exponent.
        on_value: called after each value of a text that is too deep for ``json.loads``.

    Raises:
        ValueError: not JSON.
    """
    fraction = Decimal if exact else float
    try:
        try:
            # A NaN of one text must not be the same object as that of another: a list would take them for equal.
            return json.loads(text, parse_int=whole, parse_float=fraction, parse_constant=float)
        except RecursionError:
            return parse_deep(text, fraction, on_value)
    except InvalidOperation:
        raise ValueError("an exponent of more than 18 digits") from None


def parse_deep(text: str, fraction: Callable[[str], Any], on_value: Callable[[], None]) -> Any:
    """As ``parse_json``, slower and without recursion: a reader hands each value inside its own to a new reader."""
    readers, result = [read_value(text, 0, fraction)], None
    while readers:
        try:
            readers.append(readers[-1].send(result))
            result = None
        except StopIteration as end:
            readers.pop()
            result = end.value
            on_value()
    value, place = result
    if after_blanks(text, place) != len(text):
        raise ValueError(f"more text at character {place}")
    return value


def after_blanks(text: str, place: int) -> int:
    return BLANKS.match(text, place).end()


def read_value(text: str, place: int, fraction: Callable[[str], Any]) -> Reader:
    place = after_blanks(text, place)
    mark = text[place : place + 1]
    if mark == '"':
        return scanstring(text, place + 1, True)
    if mark in ("[", "{"):
        return (yield read_container(text, place, fraction))
    number = NUMBER.match(text, place)
    if number:
        return (fraction(number[0]) if number[2] or number[3] else whole(number[0])), number.end()
    word = WORD.match(text, place)
    if word is None:
        raise ValueError(f"no value at character {place}")
    return WORDS[word[0]] if word[0] in WORDS else float(word[0]), word.end()


def read_container(text: str, place: int, fraction: Callable[[str], Any]) -> Reader:
    values: list[Any] = []
    keys: list[str] = []
    is_object = text[place] == "{"
    end = "}" if is_object else "]"
    mark, place = ",", after_blanks(text, place + 1)
    if text[place : place + 1] == end:
        mark = end
        place += 1
    while mark == ",":
        if is_object:
            place = after_blanks(text, place)
            if text[place : place + 1] != '"':
                raise ValueError(f"no key at character {place}")
            key, place = scanstring(text, place + 1, True)
            keys.append(key)
            place = after_blanks(text, place)
            if text[place : place + 1] != ":":
                raise ValueError(f"no colon at character {place}")
            place += 1
        value, place = yield read_value(text, place, fraction)
        values.append(value)
        place = after_blanks(text, place)
        mark = text[place : place + 1]
        place += 1
    if mark != end:
        raise ValueError(f"no comma or {end} at character {place - 1}")
    return (dict(zip(keys, values, strict=True)) if is_object else values), place
