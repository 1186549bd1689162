"""From rows to intervals: pairing, the warm start, samples without a verdict, the clip's liveness."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ablate.errors import UserError
from ablate.types import VerdictKind
from ablate_analysis.compare import clip_liveness, compare
from ablate_analysis.effects import also_changed, crossed_keys, factor_levels, two_by_two
from ablate_analysis.longer_context import context_gains
from ablate_analysis.outcomes import WARM_START, arm_of, arms_after_training, matched_arms, warm_start_arms


def changed(experiment, **frames):
    return replace(experiment, **frames)


def row_of(comparison, cell: str, context: int) -> pd.Series:
    frame = comparison.frame
    return frame[(frame["cell"] == cell) & (frame["context"] == context)].iloc[0]


def test_the_point_is_the_mean_of_the_rows(main_runs, settings):
    comparison = compare(main_runs, settings)
    scores = main_runs.scores
    rows = scores[(scores["cell"] == "gspo") & (scores["context"] == 320) & (scores["step"] == 16)]
    row = row_of(comparison, "gspo", 320)
    assert row["point"] == pytest.approx(rows["passed"].mean())
    assert row["low"] < row["point"] < row["high"]
    assert row["runs"] == ("gspo/seed0", "gspo/seed1", "gspo/seed2")


def test_a_difference_is_that_of_the_points_and_the_baseline_has_none(main_runs, settings):
    comparison = compare(main_runs, settings)
    gap = row_of(comparison, "dapo", 160)["point"] - row_of(comparison, "grpo", 160)["point"]
    assert row_of(comparison, "dapo", 160)["difference"] == pytest.approx(gap)
    assert np.isnan(row_of(comparison, "grpo", 160)["difference"])
    assert np.isnan(row_of(comparison, "grpo", 160)["p_holm"])


def test_a_gain_is_the_distance_to_the_warm_start(main_runs, settings):
    comparison = compare(main_runs, settings)
    row, start = row_of(comparison, "gspo", 160), row_of(comparison, WARM_START, 160)
    assert row["gain"] == pytest.approx(row["point"] - start["point"])
    assert np.isnan(start["gain"])


def test_equal_evaluations_of_the_warm_start_count_once(main_runs):
    arms = warm_start_arms(main_runs.scores)
    assert [len(arm.seeds) for arm in arms] == [1, 1]
    assert arms[0].passed_SPN.shape == (1, 16, 4)


def test_the_same_runs_under_two_names_do_not_differ(main_runs, settings):
    scores = main_runs.scores[main_runs.scores["cell"] == "grpo"]
    twin = scores.assign(cell="twin", run=scores["run"].str.replace("grpo", "twin"))
    frame = compare(changed(main_runs, scores=pd.concat([scores, twin])), settings).frame
    row = frame[frame["cell"] == "twin"].iloc[0]
    assert (row["difference"], row["difference_low"], row["difference_high"]) == (0, 0, 0)
    assert (row["probability"], row["p"]) == (0.5, 1.0)


def test_arms_are_matched_on_the_seeds_that_all_of_them_have(main_runs, settings):
    scores = main_runs.scores
    fewer = scores[~((scores["cell"] == "gspo") & (scores["seed"] == 1))]
    arms = [arm for arm in arms_after_training(fewer) if arm.context == 160]
    assert {arm.seeds for arm in matched_arms(arms, "grpo")} == {(0, 2)}
    assert matched_arms(arms, "grpo")[0].cell == "grpo"
    row = row_of(compare(changed(main_runs, scores=fewer), settings), "gspo", 160)
    assert (row["num_seeds"], row["num_matched"]) == (2, 2)


def test_one_seed_gives_no_paired_p_value_of_seed_noise_but_an_interval_over_problems(main_runs, settings):
    scores = main_runs.scores[main_runs.scores["seed"] == 0]
    comparison = compare(changed(main_runs, scores=scores), settings)
    row = row_of(comparison, "gspo", 160)
    assert row["num_seeds"] == 1
    assert row["low"] < row["point"] < row["high"]


def test_a_sample_without_a_verdict_is_neither_right_nor_wrong(main_runs):
    scores = main_runs.scores
    rows = scores[(scores["cell"] == "grpo") & (scores["context"] == 160) & (scores["step"] == 16)].copy()
    first = rows["problem_id"] == rows["problem_id"].iloc[0]
    rows.loc[first & (rows["sample"] == 0), ["verdict", "passed"]] = [VerdictKind.infrastructure_error.value, False]
    rows.loc[first & (rows["sample"] > 0), "passed"] = True
    arm = arm_of("grpo", rows)
    assert arm.score(1)[:, 0].tolist() == [1.0, 1.0, 1.0]
    assert (~arm.verified_SPN).sum() == 3


def test_samples_without_a_verdict_are_counted_in_the_frame(main_runs, settings):
    scores = main_runs.scores.copy()
    lost = (scores["run"] == "gspo/seed0") & (scores["step"] == 16) & (scores["sample"] == 0)
    scores.loc[lost, "verdict"] = VerdictKind.infrastructure_error.value
    row = row_of(compare(changed(main_runs, scores=scores), settings), "gspo", 160)
    assert row["num_without_verdict"] == 16


def test_missing_rows_are_refused(main_runs):
    scores = main_runs.scores
    rows = scores[(scores["cell"] == "grpo") & (scores["context"] == 160) & (scores["step"] == 16)]
    with pytest.raises(UserError, match="191 evaluation rows are not 3 runs x 16 problems x 4 samples"):
        arm_of("grpo", rows.iloc[1:])


def test_arms_on_other_problems_are_refused(main_runs, settings):
    scores = main_runs.scores.copy()
    other = (scores["cell"] == "dapo") & (scores["step"] > 0)
    scores.loc[other, "problem_id"] = "other-" + scores.loc[other, "problem_id"]
    with pytest.raises(UserError, match="evaluate both on the same file"):
        compare(changed(main_runs, scores=scores), settings)


def test_runs_without_an_evaluation_after_training_are_refused(main_runs, settings):
    scores = main_runs.scores[main_runs.scores["step"] == 0]
    with pytest.raises(UserError, match=r"eval\.at_end=true"):
        compare(changed(main_runs, scores=scores), settings)


def test_pass_at_one_is_finished_times_passed_of_the_finished(main_runs, settings):
    frame = compare(main_runs, settings).frame
    whole = frame["finished"] * frame["passed_finished"] + frame["passed_unfinished"]
    assert whole.to_numpy() == pytest.approx(frame["point"].to_numpy())


def test_a_clip_is_live_if_it_ever_was_in_any_run(main_runs):
    metrics = main_runs.metrics.copy()
    of_gspo = (metrics["cell"] == "gspo") & (metrics["name"] == "policy/clip_is_live")
    metrics.loc[of_gspo, "value"] = 0.0
    assert clip_liveness(changed(main_runs, metrics=metrics)) == {
        "grpo": True, "dapo": True, "gspo": False, "gspo_plus": True
    }  # fmt: skip


def test_equal_seeds_of_resampling_give_equal_tables(main_runs, settings):
    pd.testing.assert_frame_equal(compare(main_runs, settings).frame, compare(main_runs, settings).frame)


def test_effects_of_a_2_x_2_are_the_contrasts_of_its_cells(crossed_runs, settings):
    comparison = compare(crossed_runs, replace(settings, baseline="ratio=token-weight=sequence_mean"))
    keys = crossed_keys(crossed_runs)
    effects = two_by_two(comparison, factor_levels(crossed_runs, *keys), *keys)
    at_160 = effects[effects["context"] == 160].set_index("effect")["point"]
    score = {
        (ratio, weight): row_of(comparison, f"ratio={ratio}-weight={weight}", 160)["point"]
        for ratio in ("token", "sequence")
        for weight in ("token_mean", "sequence_mean")
    }
    over_weights = [score["sequence", weight] - score["token", weight] for weight in ("sequence_mean", "token_mean")]
    assert at_160["ratio: sequence - token"] == pytest.approx(sum(over_weights) / 2)
    assert at_160["interaction"] == pytest.approx(over_weights[1] - over_weights[0])
    assert (effects["low"] < effects["high"]).all()


def test_cells_that_do_not_form_a_2_x_2_are_refused(main_runs):
    assert crossed_keys(main_runs) == ("objective.ratio", "objective.weight"), "keys below the declared section"
    assert also_changed(main_runs, "objective.ratio", "objective.weight")[1] == [
        "objective.clip_high",
        "objective.keep",
    ]
    three = tuple(run for run in main_runs.runs if run.cell != "dapo")
    assert crossed_keys(changed(main_runs, runs=three)) is None
    with pytest.raises(UserError, match="its 4 cells are not a 2 x 2"):
        factor_levels(main_runs, "optim.lr", "seed")


def test_a_warm_start_at_another_context_does_not_count(main_runs, settings):
    """With a context schedule the first evaluation is at the first stage's length, the last one at the last's."""
    scores = main_runs.scores.copy()
    scores.loc[scores["step"] == 0, "context"] = scores["context"] // 2 + 1
    frame = compare(changed(main_runs, scores=scores), settings).frame
    assert WARM_START not in set(frame["cell"])
    assert frame["gain"].isna().all()
    assert frame["difference"].notna().sum() == 6


def test_a_cell_that_solves_nothing_has_an_interval_all_the_same(main_runs, settings):
    row = row_of(compare(changed(main_runs, scores=main_runs.scores.assign(passed=False)), settings), "grpo", 160)
    assert (row["point"], row["low"]) == (0.0, 0.0)
    assert row["high"] > 0.1


def test_what_a_longer_context_adds_is_the_difference_of_the_points(main_runs, settings):
    comparison = compare(main_runs, settings)
    point = comparison.frame.set_index(["cell", "context"])["point"]
    gains = context_gains(comparison)
    assert list(gains["cell"]) == [cell for cell in comparison.names if (cell, 320) in point.index]
    for row in gains.itertuples():
        assert row.point == pytest.approx(point[row.cell, row.longer] - point[row.cell, row.context])
        assert row.low <= row.point <= row.high


def test_the_gain_from_a_longer_context_is_paired_over_problems_and_seeds(main_runs, settings):
    """Scores that a longer context raises by the same amount everywhere leave no doubt about the amount."""
    comparison = compare(main_runs, settings)
    arms = [arm for arm in comparison.arms if arm.context == 160]
    solved = [replace(arm, context=320, passed_SPN=arm.verified_SPN) for arm in arms]
    nothing = [replace(arm, passed_SPN=np.zeros_like(arm.passed_SPN)) for arm in arms]
    gains = context_gains(replace(comparison, arms=(*nothing, *solved)))
    assert (gains[["point", "low", "high"]] == 1.0).all().all()
    unpaired = context_gains(replace(comparison, arms=(*nothing, *solved[:-1], replace(solved[-1], runs=("other",)))))
    assert len(unpaired) == len(gains) - 1, "other runs are no pair"
