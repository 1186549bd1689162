"""A verdict shows the first test that failed: its input, what was expected, and the beginning of what was answered."""

from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from ablate.records.groups import failed_rows
from ablate.records.steps import StepRecords
from ablate.types import Completion, Problem, RolloutGroup, TestCase
from ablate.verify.shown import SHOWN_CHARACTERS, cut

ADD = Problem("add", "", (TestCase("1 2\n", "3\n"), TestCase("10 20\n", "30\n")), "easy")


def texts(verdict):
    return verdict.failed_input, verdict.expected, verdict.got


@pytest.mark.parametrize(
    ("program", "got"),
    [
        ("print('7<script>alert(1)</script>')", "7<script>alert(1)</script>\n"),
        ("import os\nos.write(1, b'\\xff\\x00\\xe2\\x82')", "\ufffd\x00\ufffd"),
        ("print('half', flush=True)\n1 / 0", "half\n"),
        ("print('é' * 5000)", "é" * SHOWN_CHARACTERS + "…"),
        ("pass", ""),
    ],
)
def test_the_first_failed_test_is_shown_whatever_bytes_it_printed(verifier, program, got):
    verdict = verifier.submit(ADD, program).result()
    assert verdict.first_failed == 1
    assert texts(verdict) == ("10 20\n", "30\n", got)


def test_a_function_shows_the_json_that_it_returned(verifier):
    problem = replace(ADD, tests=(TestCase("1\n2", "3"),), input_mode="functional", fn_name="add")
    assert texts(verifier.submit(problem, "def add(a, b): return [a, '</b>']").result()) == ("1\n2", "3", '[1, "</b>"]')
    assert verifier.submit(problem, "def add(a, b): 1 / 0").result().got == ""


def test_a_verdict_that_blames_no_test_shows_none(verifier):
    for program in ("a, b = map(int, input().split())\nprint(a + b)", "print("):
        assert texts(verifier.submit(ADD, program).result()) == (None, None, None)


def test_a_cut_text_can_be_stored_as_utf_8():
    assert cut("a" * SHOWN_CHARACTERS) == "a" * SHOWN_CHARACTERS
    assert cut("\ud800" + "b" * SHOWN_CHARACTERS) == "?" + "b" * (SHOWN_CHARACTERS - 1) + "…"


def test_failed_tests_are_kept_by_rollout_and_go_with_the_step(verifier, tmp_path):
    programs = ("a, b = map(int, input().split())\nprint(a + b)", "print(7)", "raise SystemExit('\\ud800')", "print(")
    verdicts = tuple(verifier.submit(ADD, program).result() for program in programs)
    completions = tuple(Completion("add", index, 0, (1,), (2,), (0.0,), "", True) for index in range(len(programs)))
    steps = StepRecords(tmp_path)
    for step in (1, 2):
        steps.write_rollouts(step, [{"step": step}])
        steps.write_failed_tests(step, list(failed_rows([RolloutGroup(ADD, completions, verdicts)], "rollout")))
    found = steps.failed_tests(1)
    assert list(found) == [1, 2, 3]
    assert [found[1][name] for name in ("test", "input", "expected", "got")] == [1, "10 20\n", "30\n", "7\n"]
    assert (found[3]["test"], found[3]["input"]) == (None, None)
    assert "SyntaxError" in found[3]["detail"]
    steps.keep_through(1)
    assert steps.failed_tests(1) == found
    assert steps.failed_tests(2) == {}
    assert pq.read_table(steps.failed_tests_file(1)).num_rows == 3
