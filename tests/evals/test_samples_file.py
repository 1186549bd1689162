"""Samples in LiveCodeBench's format leave and enter, and are scored without a model."""

from __future__ import annotations

import json
import sys

import pytest

from ablate import evaluate
from ablate.cli import compose
from ablate.config import parse
from ablate.errors import UserError
from ablate.evals.samples_file import read_samples_file, write_samples
from ablate.evaluate import check_own
from ablate.files.parquet import read_parquet
from ablate.types import Problem, TestCase

PROBLEMS = [Problem(name, "", (TestCase("", "1 2\n"),), "easy") for name in ("b", "a")]


def test_written_samples_are_read_back_in_the_order_of_the_problems(tmp_path):
    write_samples(tmp_path / "s.json", {"a": ["print(1)", ""], "b": ["ü"]})
    assert json.loads((tmp_path / "s.json").read_text())[0] == {"question_id": "a", "code_list": ["print(1)", ""]}
    assert list(read_samples_file(tmp_path / "s.json", PROBLEMS).items()) == [("b", ["ü"]), ("a", ["print(1)", ""])]


def test_problems_outside_the_evaluated_window_are_left_out_and_said(tmp_path, caplog):
    write_samples(tmp_path / "s.json", {"a": ["1"], "b": ["2"], "old": ["3"], "older": ["4"]})
    assert read_samples_file(tmp_path / "s.json", PROBLEMS) == {"b": ["2"], "a": ["1"]}
    assert "2 problems are not in data.eval and are left out" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "is not JSON"),
        ('[["print(1)"]]', "entry 0 has another form"),
        ('[{"question_id": "a", "code_list": []}]', "entry 0 has another form"),
        ('[{"question_id": "a", "code_list": ["x"]}, {"question_id": "a", "code_list": ["x"]}]', "occurs twice"),
        ('[{"question_id": "a", "code_list": ["x"]}]', "lacks 1 of 2 problems and has 0 others, such as: b"),
    ],
)
def test_a_samples_file_that_breaks_a_rule_is_refused(tmp_path, text, message):
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(UserError, match=message):
        read_samples_file(tmp_path / "s.json", PROBLEMS)


def test_a_samples_file_holds_one_context():
    two = parse(compose(["eval.contexts=[{length: 128, every: 0}, {length: 160, every: 0}]"]))
    with pytest.raises(UserError, match="samples_out holds the samples of one context"):
        check_own({"samples_out": "s.json"}, two)


def test_other_peoples_samples_are_scored_by_both_comparisons(tmp_path, monkeypatch, capsys):
    problems, samples, out = tmp_path / "p.jsonl", tmp_path / "s.json", tmp_path / "rows.parquet"
    tests = [{"input": "", "output": "1 2\n"}]
    rows = [{"id": name, "statement": "s", "tests": tests, "difficulty": "easy"} for name in ("a", "b")]
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_samples(samples, {"a": ["print(1, 2)", "print(1)\nprint(2)"], "b": ["print(1", ""]})
    words = [f"samples={samples}", f"data.eval={problems}", f"out={out}", f"paths.cache={tmp_path}"]
    words += ["eval.bootstrap_resamples=100", "verify.second_comparison=lcb", "verify.workers=1"]
    monkeypatch.setattr(sys, "argv", ["evaluate", *words])
    evaluate.main()
    assert "by verify.second_comparison" in (printed := capsys.readouterr().out)
    assert "truncated" not in printed  # nobody knows it
    verdicts = [(row["problem_id"], row["passed"], row["passed_second"]) for row in read_parquet(out)]
    assert verdicts == [("a", True, True), ("a", True, False), ("b", False, None), ("b", False, False)]
