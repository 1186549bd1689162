"""Scores from other sides, on the recorded runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ablate.config import ComparisonConfig
from ablate.config.schema import DesignConfig
from ablate_analysis import design, further_scores
from ablate_analysis.compare import compare


@pytest.fixture
def comparison(main_runs, settings):
    return compare(main_runs, settings)


def test_pass_at_k_grows_with_k_and_has_the_warm_start(comparison):
    table = further_scores.pass_at_k_table(comparison)
    assert any(row[0] == "Warm start" for row in table.rows)
    for row in table.rows:
        values = [float(str(cell).split()[0]) for cell in row[2:]]
        assert values == sorted(values)


def test_pass_at_1_of_the_curve_is_the_score_of_the_main_table(comparison):
    table = further_scores.pass_at_k_table(comparison)
    for row in comparison.frame.itertuples():
        (found,) = [each for each in table.rows if each[:2] == (comparison.names[row.cell], f"{row.context:,}")]
        assert float(str(found[2]).split()[0]) == pytest.approx(100 * row.point, abs=0.06)


def test_a_month_splits_the_difference_and_its_parts_add_up(main_runs, comparison):
    scores = main_runs.scores.copy()
    names = sorted(scores["problem_id"].unique())
    scores["month"] = scores["problem_id"].map({name: f"2025-{1 + place % 12:02}" for place, name in enumerate(names)})
    table = further_scores.months_table(comparison, scores, "2025-07")
    assert table is not None
    before, after, change = (float(str(cell).split()[0]) for cell in table.rows[0][2:])
    assert change == pytest.approx(after - before, abs=0.11)
    assert further_scores.months_table(comparison, scores, None) is None
    assert further_scores.months_table(comparison, scores.assign(month=None), "2025-07") is None


def test_too_few_evaluations_are_not_fitted(main_runs, comparison):
    assert further_scores.fits_table(main_runs, comparison) is None


def test_pass_at_k_needs_verdicts_of_all_samples(comparison):
    arms = [replace(arm, verified_SPN=np.zeros_like(arm.verified_SPN)) for arm in comparison.arms]
    assert further_scores.pass_at_k_table(replace(comparison, arms=tuple(arms))) is None


def with_looks(*looks: int) -> ComparisonConfig:
    made = DesignConfig(cell="dapo", context=160, effect=0.1, looks=list(looks), alpha=0.05, futility=0.0)
    return ComparisonConfig(
        factors=["objective"], baseline="grpo", min_seeds=2, longer_context=None, tuned_in=None, note=None, design=made
    )


def test_the_looks_of_a_declared_design_are_those_that_the_finished_seeds_allow(main_runs, comparison):
    declared = with_looks(2, 16)
    (look,) = design.looks_of(main_runs, comparison, declared)
    arms = {arm.cell: arm.score(1)[:2].mean() for arm in comparison.arms if arm.context == 160}
    assert look.num_seeds == 2
    assert look.estimate == pytest.approx(arms["dapo"] - arms["grpo"])
    (sentence,) = design.look_sentence([look], comparison, declared)
    assert sentence.startswith("Look 1 of 2 of the declared design, at 2 seeds: DAPO minus GRPO at 160 tokens is ")
    table = design.design_table([look], comparison, declared)
    assert "looks at 2, 16 seeds" in table.note
    assert design.early_label(main_runs, replace(declared, design=None), True)
    assert design.early_label(main_runs, replace(declared, design=None), False) == []


def test_a_report_that_is_read_between_two_looks_says_so(main_runs):
    assert design.early_label(main_runs, with_looks(3, 16), True) == []
    (sentence,) = design.early_label(main_runs, with_looks(4, 16), True)
    assert sentence.startswith("3 seeds are finished, and the declared looks are at 4, 16 seeds")
    assert "decide at 4 seeds" in sentence
