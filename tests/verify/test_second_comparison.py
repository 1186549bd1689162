"""Both verdicts of a program, and the prelude that runs before it."""

from __future__ import annotations

import pytest

from ablate.errors import UserError
from ablate.types import Problem, TestCase, VerdictKind
from ablate.verify.choices import check_verify
from ablate.verify.verifier import open_verifier


def problem(*tests: tuple[str, str]) -> Problem:
    return Problem("p", "statement", tuple(TestCase(*test) for test in tests), "easy")


@pytest.fixture(scope="module")
def both(make_config):
    with open_verifier(make_config(second_comparison="lcb", prelude="from math import *", max_tests=None)) as opened:
        yield opened


def verdict_of(verifier, source: str, *tests: tuple[str, str]):
    return verifier.submit(problem(*tests), source).result()


def test_the_run_goes_on_while_either_comparison_still_accepts(both):
    tests = (("long input", "1.0\n"), ("short", "1.0\n"))  # the longest input runs first
    verdict = verdict_of(both, "print('1.00')", *tests)
    assert (verdict.kind, verdict.first_failed, verdict.num_passed) == (VerdictKind.wrong_answer, 0, 0)
    assert verdict.passed_second is True
    fails_later = "print('1.00' if input() == 'long input' else '2')"
    verdict = verdict_of(both, fails_later, *tests)
    assert (verdict.first_failed, verdict.passed_second) == (0, False)


def test_a_layout_that_only_tokens_forgive_fails_the_second_comparison(both):
    verdict = verdict_of(both, "print(1)\nprint(2)", ("", "1 2\n"))
    assert (verdict.passed, verdict.passed_second) == (True, False)


def test_a_crash_fails_both_comparisons(both):
    assert verdict_of(both, "1 / 0", ("", "1\n")).passed_second is False


def test_the_configured_prelude_and_nothing_else_runs_before_a_program(both, make_config):
    tests = (("", "2\n"),)
    assert verdict_of(both, "print(isqrt(4))", *tests).passed
    assert verdict_of(both, "from __future__ import annotations\nprint(isqrt(4))", *tests).passed
    assert verdict_of(both, "print(len(defaultdict(int)) + 2)", *tests).kind is VerdictKind.runtime_error
    with open_verifier(make_config(prelude=None, workers=1)) as bare:
        assert verdict_of(bare, "print(isqrt(4))", *tests).kind is VerdictKind.runtime_error


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"second_comparison": "tokens"}, "is verify.comparison already"),
        ({"second_comparison": "fuzzy"}, "verify.second_comparison=fuzzy is not one of tokens, lcb, exact"),
        ({"prelude": "import"}, "verify.prelude is not Python"),
        ({"prelude": "#" * 40_000}, "verify.prelude is longer than 32768 characters"),
    ],
)
def test_a_wrong_key_is_named_before_anything_runs(make_config, change, message):
    with pytest.raises(UserError, match=message):
        check_verify(make_config(**change))


@pytest.mark.parametrize(
    ("source", "by_lcb"),
    [
        ("import sys\nprint(1)\nsys.exit(3)", True),
        ("print(1)\nraise SystemExit('a last word')", True),
        ("import sys\ndef main():\n    print(1)\n    exit(255)\nmain()", True),
        ("import sys\nprint(2)\nsys.exit(3)", False),
        ("import os\nprint(1, flush=True)\nos._exit(3)", False),
        ("print(1)\nraise ValueError", False),
        ("import os, sys\nprint(1)\nsys.stdout.flush()\nos.closerange(2, 99)\nsys.exit(3)", False),  # none can say why
    ],
)
def test_the_benchmark_counts_any_exit_of_the_program_itself_as_a_normal_end(both, source, by_lcb):
    verdict = verdict_of(both, source, ("", "1\n"))
    assert (verdict.kind, verdict.passed_second) == (VerdictKind.runtime_error, by_lcb)


def test_a_function_that_exits_has_no_value_to_compare(both):
    asked = Problem("f", "", (TestCase("1", "1"),), "easy", input_mode="functional", fn_name="f")
    source = "import sys\ndef f(a):\n    print(1)\n    sys.exit(3)"
    verdict = both.submit(asked, source).result()
    assert (verdict.passed, verdict.passed_second) == (False, False)
