"""Bounded parsing, and values that JSON must not change."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.sources import literals
from ablate.sources.literals import encode_value, parse_json, parse_json_or_literal
from ablate.sources.reasons import Refused
from ablate.sources.statements import asks_for_function, program_of, without_framing

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=12
)
PREAMBLE = "Solve the following coding problem using the programming language python:\n\n"
STDIN = "\n\nThe input will be stdin and you should print your solution to stdout"
GIVEN = "\n\nThe input will be given via stdin and the output should be printed to stdout by your code."
RETURN = "\n\nNow solve the problem and return the code."
PROVIDE = "\n\nNow solve the problem by providing the code."


def reason_of(parse, text) -> str:
    with pytest.raises(Refused) as refused:
        parse(text)
    return refused.value.reason


@given(VALUES)
def test_a_value_survives_its_encoding_on_one_line(value):
    text = encode_value(value)
    assert "\n" not in text
    assert parse_json(text) == value


@given(VALUES)
def test_json_and_a_python_literal_of_one_value_are_read_alike(value):
    assert parse_json_or_literal(json.dumps(value)) == parse_json_or_literal(repr(value)) == value


def test_json_is_tried_before_the_literal():
    assert parse_json_or_literal(r'"\/"') == "/"
    assert parse_json_or_literal(r"'\/'") == "\\/"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("-" * 100_000 + "1", "too_deep"),
        ("'a'+" * 100_000 + "'a'", "too_deep"),
        ("(" * 101 + ")" * 101, "too_deep"),
        ("(" + "1," * (2**20 + 1) + ")", "too_large"),
        ("'no end", "bad_json"),
        ("{1: lambda: 0}", "bad_json"),
        ("__import__('os').system('true')", "bad_json"),
        ("[" * 100_000, "too_deep"),
        ("nan", "bad_json"),
        ("[NaN]", "not_finite"),
        ("[1e999]", "not_finite"),
        ("[" + "9" * 5000 + "]", "huge_integer"),
    ],
    ids=lambda each: each[:20],
)
def test_what_is_too_large_too_deep_or_no_value_is_refused(text, reason):
    assert reason_of(parse_json_or_literal, text) == reason


def test_text_beyond_the_limit_is_not_parsed(monkeypatch):
    monkeypatch.setattr(literals, "MAX_CHARACTERS", 10)
    assert reason_of(parse_json_or_literal, "[1, 2, 3, 4]") == "too_large"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ((1, 2), "not_json"),
        ({1}, "not_json"),
        (b"a", "not_json"),
        (1j, "not_json"),
        ([{"a": {2: 3}}], "non_string_keys"),
        (float("nan"), "not_finite"),
        ([float("-inf")], "not_finite"),
        (["\udc80"], "lone_surrogate"),
        ([10**5000], "huge_integer"),
    ],
    ids=lambda each: each if isinstance(each, str) else type(each).__name__,
)
def test_a_value_that_json_would_change_is_refused(value, reason):
    assert reason_of(encode_value, value) == reason


@pytest.mark.parametrize("trailer", ["", RETURN, STDIN + RETURN, GIVEN + PROVIDE], ids=len)
def test_framing_is_removed_and_the_statement_is_not_touched(trailer):
    statement = f"Print &lt;b&gt;.{RETURN} That was a quotation."
    assert without_framing(f"{PREAMBLE}{statement}{trailer}") == (statement, None)
    assert without_framing(statement) == (statement, None)


def test_a_function_is_asked_for_or_not():
    assert asks_for_function("You must complete the function solve() for this.")
    assert asks_for_function("Print a.", starter_code="class Solution:\n    def f(self): ...")
    assert not asks_for_function("Print the value of the function f(x) = x + 1 for each x.")


@pytest.mark.parametrize(
    ("solution", "program"),
    [
        ("```python\nprint(1)\n```\n", "print(1)"),
        ("```python\r\nprint(1)\r\nprint(2)\r\n```\r\n", "print(1)\nprint(2)"),
        ("Use this:\n\n```Python3\nprint(1)\n```\n\nIt takes linear time.", "print(1)"),
        ("A first try:\n```python\nprint(0)\n```\nand the right one:\n```\nprint(1)\n```", "print(1)"),
        ("import sys\nprint(1)", "import sys\nprint(1)"),
        ("```python\nprint 1\n```", "print 1"),  # of Python 2: curation says so
        ("```javascript\n0\n```", None),
        ("Sorting", None),
        ("Sort the numbers first.", None),
    ],
)
def test_the_program_of_a_published_solution_is_its_last_block_of_python(solution, program):
    assert program_of(solution) == program
