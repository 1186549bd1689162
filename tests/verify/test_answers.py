"""What an answer means: which values and limits decide, and which tests nobody can pass."""

from __future__ import annotations

import dataclasses

import pytest

from ablate.errors import UserError
from ablate.types import Problem, TestCase, VerdictKind
from ablate.verify.choices import check_verify
from ablate.verify.verifier import open_verifier

ADD = Problem("p", "", (TestCase("", "7"),), "easy")
FUNCTION = Problem("f", "", (TestCase("1", "7"),), "easy", input_mode="functional", fn_name="f")


def expecting(expected: str, problem: Problem = ADD, given: str = "", **changes: object) -> Problem:
    test = TestCase(given or problem.tests[0].input, expected)
    return dataclasses.replace(problem, tests=(test,), **changes)


def kind_of(verifier, problem: Problem, program: str) -> VerdictKind:
    verdict = verifier.submit(problem, program).result()
    assert verdict.kind is not VerdictKind.infrastructure_error, verdict
    return verdict.kind


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("print('1' * 60000 + 'x')", "7"),
        ("print('1' * 900000 + '.')", "7"),
        ("print('1 ' * 400000 + 'x')", "7"),
        ("print('1e' + '9' * 900000)", "7"),
        ("print(7)", "1" + "0" * 400),
        ("print(7)", "1e400"),
        ("print('1e400')", "7"),
    ],
)
def test_a_tolerance_accepts_no_number_that_differs_however_large(verifier, program, expected):
    assert kind_of(verifier, expecting(expected, float_tolerance=1e-6), program) is VerdictKind.wrong_answer


@pytest.mark.parametrize("levels", [333, 1000, 20_000])
def test_values_of_a_function_may_be_nested_deeply(verifier, levels):
    program = f"def f(n):\n    x = n\n    for _ in range({levels}): x = [x]\n    return x"
    nested = "[" * levels + "1" + "]" * levels
    assert kind_of(verifier, expecting(nested, FUNCTION), program) is VerdictKind.accepted
    assert kind_of(verifier, expecting(nested.replace("1", "2"), FUNCTION), program) is VerdictKind.wrong_answer
    same = expecting(nested, FUNCTION, nested)
    assert kind_of(verifier, same, "def f(x): return x") is VerdictKind.accepted
    small = "import sys\ndef f(x):\n    sys.setrecursionlimit(100)\n    return x"
    assert kind_of(verifier, same, small) is VerdictKind.accepted


@pytest.mark.parametrize("program", ["def f(x): return 7", "def f(x): return nothing", "import os\nos._exit(0)"])
@pytest.mark.parametrize(
    ("given", "expected", "words"),
    [
        ("1", "seven", "broken test 0 of problem f: its expected value is not JSON"),
        ("1", "[7", "broken test 0 of problem f: its expected value is not JSON"),
        ("one", "7", "broken test 0 of problem f: a line of its input is not JSON"),
    ],
)
def test_a_functional_test_that_is_no_json_is_named_and_scores_nobody(verifier, program, given, expected, words):
    before = verifier.num_retries
    verdict = verifier.submit(expecting(expected, FUNCTION, given), program).result()
    assert (verdict.kind, verdict.detail[: len(words)]) == (VerdictKind.infrastructure_error, words)
    assert verifier.num_retries == before


@pytest.mark.parametrize(
    ("choice", "statement", "kind"),
    [
        ("statement", "You can print each letter in any case.", VerdictKind.accepted),
        ("statement", "Print YES or NO.", VerdictKind.wrong_answer),
        (True, "Print YES or NO.", VerdictKind.accepted),
        (False, "You can print each letter in any case.", VerdictKind.wrong_answer),
    ],
)
def test_letters_may_have_any_case_where_the_statement_or_the_configuration_says_so(
    make_config, choice, statement, kind
):
    config = make_config(case_insensitive=choice, workers=1)
    check_verify(config)
    with open_verifier(config) as opened:
        assert kind_of(opened, expecting("YES", statement=statement), "print('yEs')") is kind


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"case_insensitive": "perhaps"}, "verify.case_insensitive=perhaps is not one of true, false, statement"),
        (
            {"case_insensitive": True, "comparison": "exact"},
            "verify.case_insensitive=true needs verify.comparison=tokens",
        ),
    ],
)
def test_a_wrong_choice_of_cases_is_named(make_config, change, words):
    with pytest.raises(UserError, match=words):
        check_verify(make_config(**change))
