"""outputs/** becomes tidy frames, and nothing that is not finished gets in."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ablate.errors import UserError
from ablate_analysis.load import load_experiment, printed_name, seconds_by_step, swept_keys, wide_metrics


def test_every_finished_run_is_in_both_frames(main_runs):
    names = {run.name for run in main_runs.runs}
    assert len(names) == 12
    assert set(main_runs.metrics["run"]) == set(main_runs.scores["run"]) == names


def test_a_row_knows_its_cell_its_seed_and_the_swept_keys(crossed_runs):
    row = crossed_runs.scores.iloc[0]
    assert row["run"] == f"{row['cell']}/seed{row['seed']}"
    assert row["cell"] == f"ratio={row['objective.ratio']}-weight={row['objective.weight']}"


def test_swept_keys_are_those_that_differ_and_never_the_seed(crossed_runs):
    assert swept_keys(crossed_runs.runs) == [
        "objective.clip_high",
        "objective.clip_low",
        "objective.ratio",
        "objective.weight",
    ]


def test_cells_come_by_name_after_the_baseline(main_runs):
    assert main_runs.baseline == "grpo"
    assert main_runs.cells == ["grpo", "dapo", "gspo", "gspo_plus"]


def test_among_other_cells_the_baseline_comes_first(crossed_runs):
    assert crossed_runs.cells[0] == crossed_runs.baseline == "ratio=token-weight=sequence_mean"
    assert crossed_runs.cells[1:] == sorted(crossed_runs.cells[1:])


@pytest.mark.parametrize(
    ("name", "label", "cell", "printed"),
    [
        ("gspo_plus", "GSPO+", "gspo_plus", "GSPO+"),
        ("dr_grpo", "Dr. GRPO", "dr_grpo-updates=2", "Dr. GRPO, updates=2"),
        ("grpo", "GRPO", "ratio=token-weight=token_mean", "ratio=token, weight=token mean"),
        ("grpo", "GRPO", "clip_high=1e-05", "clip high=1e-05"),
    ],
)
def test_a_cell_is_printed_with_the_label_that_its_run_recorded(name, label, cell, printed, main_runs):
    config = {"cell": cell, "objective": {"name": name, "label": label}}
    assert printed_name(replace(main_runs.runs[0], config=config)) == printed


def test_numbers_in_scientific_notation_are_numbers(main_runs):
    gspo = main_runs.runs_of("gspo")[0]
    assert gspo.settings["objective.clip_low"] == 3e-4


def test_an_unfinished_run_is_left_out_and_named(copied_runs):
    manifest_path = copied_runs / "gspo" / "seed1" / "manifest.json"
    manifest = json.loads(manifest_path.read_text())
    manifest_path.write_text(json.dumps({**manifest, "status": "failed"}))
    experiment = load_experiment(copied_runs)
    assert experiment.skipped == ("gspo/seed1 is failed",)
    assert "gspo/seed1" not in set(experiment.scores["run"])


def test_an_experiment_without_runs_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"holds no run .*ablate\.train -m experiment=absent"):
        load_experiment(tmp_path / "absent")


def test_a_metric_that_no_run_logged_is_an_empty_column(main_runs):
    wide = wide_metrics(main_runs.metrics, ["train/loss", "train/never_logged"])
    assert wide["train/loss"].notna().all()
    assert wide["train/never_logged"].isna().all()


def test_seconds_of_every_step_come_from_the_open_ended_trace(main_runs):
    seconds = seconds_by_step(main_runs.runs_of("grpo")[0])
    assert list(seconds["step"]) == list(range(1, 17))
    assert seconds["seconds"].to_numpy() == pytest.approx(0.9)


def test_a_commit_with_uncommitted_changes_is_marked(copied_runs):
    manifest_path = copied_runs / "grpo" / "seed0" / "manifest.json"
    manifest = json.loads(manifest_path.read_text())
    manifest_path.write_text(json.dumps({**manifest, "commit": "abcdef0123456789", "dirty": True}))
    commits = {run.name: run.commit for run in load_experiment(copied_runs).runs}
    assert commits["grpo/seed0"] == "abcdef0123+"
    assert commits["grpo/seed1"] == "0000000000"
