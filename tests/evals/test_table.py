"""The benchmark's table has a line for each subset of the problems and a column for each context."""

from __future__ import annotations

from ablate.cli import compose
from ablate.config import parse
from ablate.evals.table import benchmark_table
from ablate.types import EvalRow


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
