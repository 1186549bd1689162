"""The benchmark's table has a line for each subset of the problems and a column for each context."""

from __future__ import annotations

from dataclasses import replace

from ablate.cli import compose
from ablate.config import parse
from ablate.evals.scores import summarise
from ablate.types import EvalRow
from ablate_analysis.benchmark_table import benchmark_table


def row(name, passed, context, platform, verdict="accepted"):
    return EvalRow(0, context, name, "easy", 0, 10, True, passed, verdict, platform, "2024-08")


def test_every_line_counts_its_own_problems_and_every_column_its_own_context():
    config = parse(compose(["eval.bootstrap_resamples=200"])).eval
    rows = [row(name, name == "a", 160, platform) for name, platform in (("a", "atcoder"), ("b", "leetcode"))]
    rows += [row(name, True, 320, platform) for name, platform in (("a", "atcoder"), ("b", "leetcode"))]
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in benchmark_table(rows, config).splitlines()
    ]
    assert lines[0] == ["Pass@1, %", "problems", "160 tokens", "320 tokens"]
    by_name = {line[0]: line[1:] for line in lines[2:]}
    assert by_name["all problems"] == ["2", "50.0 [0.0, 100.0]", "100.0 [100.0, 100.0]"]
    assert by_name["atcoder"] == ["1", "100.0 [100.0, 100.0]", "100.0 [100.0, 100.0]"]
    assert by_name["leetcode"][1] == "0.0 [0.0, 0.0]"
    assert "easy" not in by_name  # a subset that holds every problem says nothing new


def test_a_subset_without_a_verdict_has_a_dash():
    config = parse(compose([])).eval
    rows = [row("a", False, 160, "atcoder", "infrastructure_error"), row("b", True, 160, "leetcode")]
    assert "| atcoder      | 1        | -" in benchmark_table(rows, config)


def test_the_score_by_the_second_comparison_has_its_own_line_and_metrics():
    config = parse(compose(["eval.bootstrap_resamples=200"])).eval
    rows = [replace(row(name, False, 160, "atcoder"), passed_second=name == "a") for name in ("a", "b")]
    assert "| by verify.second_comparison | 2        | 50.0 [0.0, 100.0] |" in benchmark_table(rows, config)
    metrics = summarise(rows, config)
    assert (metrics["eval/second_pass@1/160"], metrics["eval/verdicts_differ/160"]) == (0.5, 1.0)
    assert "eval/second_pass@1/160" not in summarise([replace(each, passed_second=None) for each in rows], config)
