"""Metrics of an evaluation are those of its verified rows, per context."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ablate.cli import compose
from ablate.config import parse
from ablate.evals.scores import eval_rows, summarise
from ablate.types import Completion, EvalRow, Problem, TestCase, Verdict, VerdictKind


@pytest.fixture(scope="module")
def config():
    return parse(compose(["eval.samples_per_problem=4", "eval.pass_at=[1,2]"])).eval


def rows_of(passed_by_problem, *, context=160, difficulty="easy", num_tokens=10, finished=True):
    """One row per character: ``{"p": "10"}`` is a problem of which the first sample passed; ``!`` has no verdict."""
    kinds = {"1": "accepted", "0": "wrong_answer", "!": "infrastructure_error"}
    return [
        EvalRow(0, context, name, difficulty, sample, num_tokens, finished, mark == "1", kinds[mark])
        for name, marks in passed_by_problem.items()
        for sample, mark in enumerate(marks)
    ]


def test_pass_at_k_is_the_mean_over_problems(config):
    metrics = summarise(rows_of({"a": "1000", "b": "1111"}), config)
    assert metrics["eval/pass@1/160"] == pytest.approx((0.25 + 1) / 2)
    assert metrics["eval/pass@2/160"] == pytest.approx((0.5 + 1) / 2)
    assert metrics["eval/pass@1/160/low"] <= metrics["eval/pass@1/160"] <= metrics["eval/pass@1/160/high"]


def test_contexts_are_kept_apart(config):
    rows = rows_of({"a": "0000"}) + rows_of({"a": "1111"}, context=320, num_tokens=30)
    metrics = summarise(rows, config)
    assert metrics["eval/pass@1/160"] == 0
    assert metrics["eval/pass@1/320"] == 1
    assert metrics["eval/length_mean/160"] == 10
    assert metrics["eval/length_mean/320"] == 30


def test_difficulties_and_truncation_are_reported(config):
    rows = rows_of({"a": "1100"}) + rows_of({"b": "0000"}, difficulty="hard", finished=False)
    metrics = summarise(rows, config)
    assert metrics["eval/pass@1/160/easy"] == 0.5
    assert metrics["eval/pass@1/160/hard"] == 0
    assert metrics["eval/truncated/160"] == 0.5


def test_a_sample_without_a_verdict_is_counted_and_left_out_of_everything_else(config):
    metrics = summarise(rows_of({"a": "11!!", "b": "0!!!", "c": "!!!!"}), config)
    assert metrics["eval/infrastructure_errors/160"] == 9
    assert metrics["eval/pass@1/160"] == 0.5
    assert metrics["eval/pass@2/160"] == 1  # only a has two verified samples


def test_without_any_verdict_only_the_failures_are_reported(config):
    assert summarise(rows_of({"a": "!!!!"}), config) == {"eval/infrastructure_errors/160": 4}


def test_rows_of_several_steps_are_refused(config):
    rows = rows_of({"a": "1100"})
    with pytest.raises(ValueError, match="one step"):
        summarise([*rows, replace(rows[0], step=5)], config)


def test_a_row_says_what_became_of_its_completion():
    problem = Problem("add", "Add.", (TestCase("1 2\n", "3\n"),), "hard")
    completion = Completion("add", 5, 99, (1, 2), (7, 8, 9), (-1.0, -1.0, -1.0), "text", False)
    verdict = Verdict(VerdictKind.time_limit, 0, 1, 0, 1.0, 1.0, 1.0)
    assert eval_rows(3, 320, problem, [completion], [verdict]) == [
        EvalRow(3, 320, "add", "hard", 5, 3, False, False, "time_limit")
    ]


def test_platforms_and_months_are_reported_where_the_data_set_has_them(config):
    rows = [
        replace(row, platform=platform, month=month)
        for name, marks, platform, month in (("a", "1100", "atcoder", "2024-08"), ("b", "0000", "leetcode", "2024-09"))
        for row in rows_of({name: marks})
    ]
    metrics = summarise(rows, config)
    assert metrics["eval/pass@1/160/atcoder"] == metrics["eval/pass@1/160/2024-08"] == 0.5
    assert metrics["eval/pass@1/160/leetcode"] == metrics["eval/pass@1/160/2024-09"] == 0
    assert "eval/pass@1/160/None" not in summarise(rows_of({"a": "1100"}), config)
