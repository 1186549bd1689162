"""The selected checkpoint is shown next to the last one, and the gain from selecting on the test problems is stated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ablate.records import RunDirectory
from ablate_analysis.compare import compare
from ablate_analysis.findings import findings
from ablate_analysis.load import load_experiment
from ablate_analysis.selection import selected_scores, selection_gain, selection_table


def select(runs, step: int, held_out: str | None = None) -> None:
    """Make ``step`` the selected checkpoint of every run; it passes everything."""
    for path in runs.glob("*/seed*/config.yaml"):
        run = RunDirectory(path.parent)
        last = [row for row in run.steps.eval_rows() if row.step == 16]
        run.steps.append_eval([replace(row, step=step, passed=True, finished=True, verdict="accepted") for row in last])
        scores = {str(step): 1.0, "16": 0.5}
        run.write_selected({"step": step, "context": 160, "held_out": held_out, "scores": scores})


def test_the_best_of_k_equal_evaluations_gains_the_expected_largest_error():
    rate_P, rng = np.full(400, 0.5), np.random.default_rng(0)
    error = np.sqrt(0.25 / (400 * 16))  # of one evaluation
    assert selection_gain(rate_P, 16, 1, rng) == pytest.approx(0.0, abs=0.2 * error)
    assert selection_gain(rate_P, 16, 13, rng) == pytest.approx(1.668 * error, rel=0.05)  # largest of 13 normals


def test_runs_that_selected_nothing_have_no_table(main_runs, settings):
    assert selection_table(main_runs, compare(main_runs, settings)) is None


def test_the_selected_and_the_last_score_stand_next_to_each_other(copied_runs, settings):
    before = compare(load_experiment(copied_runs), settings)
    select(copied_runs, 8)
    experiment = load_experiment(copied_runs)
    comparison = compare(experiment, settings)
    scores = selected_scores(experiment, 1)
    assert set(scores["selected"]) == {1.0}
    assert set(scores["steps"]) == {(8, 8, 8)}
    assert comparison.frame["point"].tolist() == before.frame["point"].tolist(), "tables of scores keep the last step"
    assert len(selection_table(experiment, comparison).rows) == 8  # 4 cells x 2 contexts


def test_the_report_states_what_selection_on_the_evaluation_problems_gains(copied_runs, settings):
    select(copied_runs, 8)
    experiment = load_experiment(copied_runs)
    said = " ".join(findings(experiment, compare(experiment, settings)))
    assert "Selection used the evaluation problems: the selected score is the best of 2 evaluations at 160" in said


def test_selection_on_held_out_problems_needs_no_warning(copied_runs, settings):
    select(copied_runs, 8, held_out="held_out.jsonl")
    experiment = load_experiment(copied_runs)
    assert "Selection used" not in " ".join(findings(experiment, compare(experiment, settings)))
