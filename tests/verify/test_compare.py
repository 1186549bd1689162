"""Comparison outside the sandbox."""

from __future__ import annotations

import json
import math
import tracemalloc
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.verify.compare import ComparisonTooSlow, compare_exact, compare_json, compare_lcb, compare_tokens
from ablate.verify.jobs import BrokenTest, accepts_any_case
from ablate.verify.json_values import parse_deep, parse_json

TOKENS = [
    (b"3\n", "3", None, True),
    (b"  1   2\r\n3\n\n", "1 2\n3", None, True),
    (b"NO", "YES", None, False),
    (b"yes", "YES", None, False),
    (b"1 2", "1 2 3", None, False),
    (b"", "", None, True),
    (b"", "3", None, False),
    (b"3", "", None, False),
    (b"3.0", "3", None, False),
    (b"3.0", "3", 1e-6, True),
    (b"0.3333333", "0.333333333333", 1e-6, True),
    (b"1000001", "1000000", 1e-6, True),
    (b"1000002", "1000000", 1e-6, False),
    (b"1e-7", "0", 1e-6, True),
    (b"1e-5", "0", 1e-6, False),
    (b"1e3 x", "1000 x", 1e-6, True),
    (b"1e3 y", "1000 x", 1e-6, False),
    (b"nan", "1", 1e-6, False),
    (b"inf", "1", 1e-6, False),
    (b"nan", "nan", 1e-6, True),
    (b"1_000", "1000", 1e-6, False),
    (b"1e999", "2e999", 1e-6, False),
    (b"9" * 400, "9" * 400, 1e-6, True),
    (b"7", "1" + "0" * 400, 1e-6, False),
    (b"7", "1e400", 1e-6, False),
    (b"1" + b"0" * 400, "7", 1e-6, False),
    (b"1.0000001e400", "1" + "0" * 400, 1e-6, True),
    (b"1.00001e400", "1" + "0" * 400, 1e-6, False),
    (b"-1e400", "1e400", 1e-6, False),
    (b"1e-400", "0", 1e-6, True),
    (b"1e999999999999999999", "1e999999999999999998", 1e-6, False),
    (b"1e" + b"9" * 5000, "7", 1e-6, False),
    (b"7", "1e" + "9" * 5000, 1e-6, False),
    (b"0.4", "0.3", 0.1, True),
    (b"0.4000000000000000001", "0.3", 0.1, False),
    (b"7", "7", 1e300, True),
    (b"5.", "5", 1e-9, True),
    (b"+.5", "0.5", 1e-9, True),
    (b".", "0", 1e-9, False),
    (b"5e", "5", 1e-9, False),
    (b"3\0", "3", None, False),
    (b"3\xff", "3", None, False),
    ("é".encode(), "é", None, True),
]


@pytest.mark.parametrize(("actual", "expected", "tolerance", "agree"), TOKENS)
def test_tokens(actual, expected, tolerance, agree):
    assert compare_tokens(actual, expected, tolerance) is agree


LCB = [
    (b"1\n2\n", "1\n2", True),
    (b"1 2", "1\n2", False),
    (b" 1 \n 2", "1\n2", True),
    (b"1.0 2", "1 2.00", True),
    (b"0.3333333", "0.33333334", False),
    (b"a b", "a  b", False),
    (b"1\n\n2", "1\n2", False),
    (b"sNaN 1", "sNaN 2", False),
    (b"NaN 1", "NaN 2", False),
    (b"yes", "YES", False),
    (b"1. 1", "1  1", True),
    (b"1 x", "1  x", False),
    (b"1. 1 1", "1  1", False),
    (b" \n1\n\n \n2", "1\n\n\n2", True),
    (b"1\n\n2\n3", "1\n \n2.0\n4", False),
    ("１".encode(), "1", True),
    ("1\u3000x".encode(), "1\u3000x\u2003", True),
    (b"1e9999999999999999999", "1e9999999999999999998", False),
]


@pytest.mark.parametrize(("actual", "expected", "agree"), LCB)
def test_lcb_compares_lines_as_text_or_decimals(actual, expected, agree):
    assert compare_lcb(actual, expected, 1e-6) is agree


def test_exact_compares_every_byte():
    assert compare_exact(b"3\n", "3\n", None)
    assert not compare_exact(b"3", "3\n", None)


JSON = [
    (b"[1, 2]", "[1,2]", None, True),
    (b"[1, [2]]", "[1, 2]", None, False),
    (b'{"a": [1]}', '{ "a" : [1] }', None, True),
    (b'{"a": 1, "b": 2}', '{"a": 1}', None, False),
    (b"1.0", "1", None, True),
    (b"true", "true", None, True),
    (b"false", "true", None, False),
    (b"0.30000000000000004", "0.3", None, False),
    (b"0.30000000000000004", "0.3", 1e-9, True),
    (b"[0.30000000000000004, 1]", "[0.3, 1]", 1e-9, True),
    (b'"1"', "1", 1e-9, False),
    (b"NaN", "NaN", None, False),
    (b"1" * 5000, "1" * 5000, None, True),
    (b"1" * 5000, "1" * 4999 + "2", None, False),
    (b"[" * 100000, "[]", None, False),
    (b"[" * 100000 + b"]" * 100000, "[]", None, False),
    (b"not json", '"not json"', None, False),
    (b"\xff", '""', None, False),
    (b"", "null", None, False),
    (b"[" * 333 + b"]" * 333, "[" * 333 + "]" * 333, None, True),
    (b"[" * 50_000 + b"1" + b"]" * 50_000, "[" * 50_000 + "1" + "]" * 50_000, None, True),
    (b"[" * 50_000 + b"1" + b"]" * 50_000, "[" * 50_000 + "2" + "]" * 50_000, None, False),
    (b"[" * 50_000 + b"1" + b"]" * 50_000, "[" * 50_000 + "1.0000001" + "]" * 50_000, 1e-6, True),
    (b'{"a": ' * 5000 + b"[]" + b"}" * 5000, '{"a": ' * 5000 + "[]" + "}" * 5000, None, True),
    (b"[NaN]", "[NaN]", None, False),
    (b"[" * 5000 + b"NaN" + b"]" * 5000, "[" * 5000 + "NaN" + "]" * 5000, None, False),
    (b"Infinity", "Infinity", 1e-6, True),
    (b"Infinity", "1", 1e-6, False),
    (b"7", "1e400", 1e-6, False),
    (b"7", "1" + "0" * 400, 1e-6, False),
    (b"1.0000001e400", "1" + "0" * 400, 1e-6, True),
    (b"1" * 5000, "1" * 4999 + "2", 1e-6, True),
    (b"0.4", "0.3", 0.1, True),
    (b"1e9999999999999999999", "1", 1e-6, False),
    (b'{"b": 2, "a": 1}', '{"a": 1, "b": 2.0000001}', 1e-6, True),
    (b"[" + b" " * 2000 + b"1]", "[1]", None, False),  # no program writes one value a hundred times as long
]


@pytest.mark.parametrize(("actual", "expected", "tolerance", "agree"), JSON)
def test_functional_results_compare_as_plain_json(actual, expected, tolerance, agree):
    assert compare_json(actual, expected, tolerance) is agree


@given(st.binary(max_size=60), st.text(max_size=60), st.sampled_from([None, 1e-6]))
def test_no_output_can_break_a_comparison(actual, expected, tolerance):
    for compare in (compare_tokens, compare_lcb, compare_exact):
        assert compare(actual, expected, tolerance) in (True, False)
    assert compare_json(actual, json.dumps(expected), tolerance) in (True, False)


def power(exponent: int) -> st.SearchStrategy[str]:
    digits = st.text("0123456789", min_size=1, max_size=30)
    return st.builds(
        "{}{}.{}e{}".format, st.sampled_from(["", "-", "+"]), digits, digits, st.integers(-exponent, exponent)
    )


@given(power(400), power(400), st.sampled_from([1e-9, 1e-6, 0.1, 1.0]))
def test_a_tolerance_is_decided_by_exact_numbers_of_any_size(actual, expected, tolerance):
    left, right, allowed = Fraction(actual), Fraction(expected), Fraction(repr(tolerance))
    wanted = abs(left - right) <= allowed * max(1, abs(right))
    assert compare_tokens(actual.encode(), expected, tolerance) is (wanted or actual == expected)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
)


@given(VALUES, st.sampled_from([None, 1, 3]))
def test_deep_json_is_read_as_json_loads_reads_all_other(value, indent):
    text = json.dumps(value, indent=indent)
    assert repr(parse_deep(text, float, lambda: None)) == repr(json.loads(text)) == repr(parse_json(text))


@given(st.text('[]{},:" 0123456789.-+eEtrufalsn\\\n', max_size=12) | st.text(max_size=5))
def test_what_json_loads_refuses_is_no_deep_json_either(text):
    def outcome(read):
        try:
            return repr(read(text))
        except ValueError:
            return "refused"

    assert outcome(lambda text: parse_deep(text, float, lambda: None)) == outcome(json.loads)


NUM = 1 << 20
LARGE = {  # output, expected value, tolerance; quadratic time would be hours
    "a number that ends in a letter": (compare_tokens, b"1" * NUM + b"x", "7", 1e-6),
    "a long number": (compare_tokens, b"1" * NUM, "7", 1e-6),
    "a long fraction": (compare_tokens, b"0." + b"1" * NUM, "1." + "1" * NUM, 1e-6),
    "points": (compare_tokens, b"." * NUM, "7", 1e-6),
    "blanks": (compare_tokens, b" " * NUM + b"8", "7", None),
    "equal lines and a last one": (compare_tokens, b"1\n" * NUM + b"2", "1\n" * NUM + "3", None),
    "lcb: equal lines and a last one": (compare_lcb, b"1\n" * NUM + b"2", "1\n" * NUM + "3", None),
    "lcb: lines": (compare_lcb, b"1\n" * NUM, "7", None),
    "lcb: one line": (compare_lcb, b"1 " * NUM, "7", None),
    "lcb: empty lines": (compare_lcb, b"1" + b"\n" * NUM + b"2", "1" + "\n" * NUM + "3", None),
    "lists": (compare_json, b"[" + b"[]," * NUM + b"[]]", "[[],[1]]", None),
    "nested lists": (compare_json, b"[" * NUM + b"]" * NUM, "[]", None),
}


@pytest.mark.parametrize("name", LARGE)
def test_comparing_takes_time_and_memory_that_grow_no_faster_than_the_output(name):
    compare, actual, expected, tolerance = LARGE[name]
    tracemalloc.start()
    try:
        assert compare(actual, expected, tolerance) is False
        assert tracemalloc.get_traced_memory()[1] < 4 * (len(actual) + len(expected)) + NUM
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("compare", "actual", "expected"),
    [
        (compare_tokens, b"1. " * 5000, "1 " * 5000),
        (compare_lcb, b"1.\n" * 5000, "1\n" * 5000),
        (compare_json, b"[" * 50_000 + b"1" + b"]" * 50_000, "[" * 50_000 + "2" + "]" * 50_000),
    ],
)
def test_a_comparison_ends_at_its_own_limit(compare, actual, expected):
    with pytest.raises(ComparisonTooSlow, match="more than 0 s of CPU to compare"):
        compare(actual, expected, 1e-6, time_limit_s=0.0)
    compare(actual, expected, 1e-6, time_limit_s=math.inf)


@pytest.mark.parametrize("expected", ["", "nope", "[1, 2", "1 2", "{'a': 1}"])
def test_an_expected_value_that_is_no_json_breaks_the_test(expected):
    with pytest.raises(BrokenTest, match="its expected value is not JSON"):
        compare_json(b"1", expected)


@pytest.mark.parametrize(
    ("actual", "expected", "agree"),
    [(b"yes\nNo", "YES NO", True), (b"yes", "NO", False), ("É".encode(), "é", False), (b"1E3", "1e3", True)],
)
def test_letters_of_either_case_are_equal_on_request(actual, expected, agree):
    assert compare_tokens(actual, expected, case_insensitive=True) is agree


ANY_CASE = [
    "You can print each letter in any case (upper or lower).",
    "You may print every letter in any case you want (so, for example, the strings yEs, yes and YES are all accepted).",
    'You can output the answer in any case (for example, the strings "yEs", "yes" will be recognized).',
    "Print YES or NO. You can print each character in either case.",
    "You can output each letter in any register.",
    "The checker is case-insensitive.",
    "The case of the letters does not matter.",
    "Print Yes or No in any case.",
]
ONE_CASE = [
    "",
    "Print YES or NO.",
    "Print -1 if there is none. In any case, the answer fits in 64 bits.",
    "The letters may be printed. In any case, print them once.",
    "Is it the case that the string is a palindrome?",
    "You can print the answers in any order.",
]


@pytest.mark.parametrize("statement", ANY_CASE + ONE_CASE)
def test_a_statement_says_whether_any_case_is_accepted(statement):
    assert accepts_any_case("statement", statement) is (statement in ANY_CASE)
    assert accepts_any_case("True", statement)
    assert not accepts_any_case("false", statement)
