"""Comparison outside the sandbox."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.verify.compare import compare_exact, compare_json, compare_lcb, compare_tokens

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
]


@pytest.mark.parametrize(("actual", "expected", "tolerance", "agree"), JSON)
def test_functional_results_compare_as_plain_json(actual, expected, tolerance, agree):
    assert compare_json(actual, expected, tolerance) is agree


@given(st.binary(max_size=60), st.text(max_size=60), st.sampled_from([None, 1e-6]))
def test_no_output_can_break_a_comparison(actual, expected, tolerance):
    for compare in (compare_tokens, compare_lcb, compare_exact, compare_json):
        assert compare(actual, expected, tolerance) in (True, False)
