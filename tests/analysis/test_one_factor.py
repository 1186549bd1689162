"""Only one declared factor may differ between the cells that are compared."""

from __future__ import annotations

import json

import pytest

from ablate import sweep
from ablate.cli import compose
from ablate.errors import UserError
from ablate.records.provenance import flatten
from ablate_analysis.load import is_under, load_experiment, may_be_a_factor
from ablate_analysis.one_factor import check_one_factor, provenance_labels, what_differs

EXPERIMENTS = ("main", "ratio_x_weight", "clip_higher", "overlong", "dynamic_sampling", "updates_per_batch")


def change(copied_runs, cell: str, old: str, new: str) -> None:
    for path in copied_runs.glob(f"{cell}/seed*/config.yaml"):
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))


def test_cells_that_differ_in_the_declared_factor_alone_are_compared(main_runs, crossed_runs):
    assert check_one_factor(main_runs, ["objective"], "refuse") == []
    assert check_one_factor(crossed_runs, crossed_runs.factors, "refuse") == []


def test_another_difference_is_refused_with_key_and_values(copied_runs):
    change(copied_runs, "dapo", "lr: 0.0001", "lr: 0.001")
    with pytest.raises(UserError, match=r"also differ in optim\.lr: .*dapo 0\.001.*report\.on_extra_factor=label"):
        check_one_factor(load_experiment(copied_runs), ["objective"], "refuse")


def test_another_difference_is_labelled_when_told(copied_runs):
    change(copied_runs, "dapo", "lr: 0.0001", "lr: 0.001")
    (label,) = check_one_factor(load_experiment(copied_runs), ["objective"], "label")
    assert label.startswith("Not one factor. The cells also differ in optim.lr")


def test_where_a_run_was_executed_is_no_factor(copied_runs):
    change(copied_runs, "dapo", "workers: 2", "workers: 7")
    change(copied_runs, "grpo", "outputs: outputs", "outputs: elsewhere")
    assert check_one_factor(load_experiment(copied_runs), ["objective"], "refuse") == []


def test_a_factor_covers_the_keys_under_it_and_no_namesake(crossed_runs):
    assert is_under("objective.ratio", ["objective"])
    assert not is_under("objectives.ratio", ["objective"])
    with pytest.raises(UserError, match=r"objective\.clip_high"):
        check_one_factor(crossed_runs, ["objective.ratio", "objective.weight"], "refuse")


def test_runs_from_several_commits_or_packages_are_labelled(copied_runs):
    manifest_path = copied_runs / "grpo" / "seed0" / "manifest.json"
    manifest = json.loads(manifest_path.read_text())
    changed = {**manifest, "commit": "f" * 40, "dirty": True, "packages": {"torch": "0"}}
    manifest_path.write_text(json.dumps(changed))
    labels = " ".join(check_one_factor(load_experiment(copied_runs), ["objective"], "refuse"))
    assert "2 commits: 0000000000, ffffffffff+" in labels
    assert "uncommitted changes" in labels
    assert "different package versions" in labels


@pytest.mark.parametrize(
    ("attempts", "shown"),
    [
        ([{}, {"cpu": "Xeon (family 6, model 85)", "instruction_set": "AVX-512"}], "model 85), AVX-512: grpo;"),
        (
            [{"devices": ["GPU 0: NVIDIA H200 (UUID: GPU-1)", "GPU 1: NVIDIA H200 (UUID: GPU-2)"]}],
            "(NVIDIA H200: grpo;",
        ),
    ],
)
def test_cells_of_different_kinds_of_device_are_labelled(copied_runs, attempts, shown):
    manifest_path = copied_runs / "grpo" / "seed0" / "manifest.json"
    manifest = json.loads(manifest_path.read_text())
    assert "kinds of device" not in " ".join(provenance_labels(load_experiment(copied_runs).runs))
    manifest_path.write_text(json.dumps({**manifest, "attempts": attempts}))
    (label,) = [each for each in provenance_labels(load_experiment(copied_runs).runs) if "kinds of device" in each]
    assert label.startswith("The runs were made on 2 kinds of device")
    assert shown in label


def test_what_differs_names_the_keys_of_a_cell_against_the_baseline(crossed_runs):
    cell, base = "ratio=sequence-weight=sequence_mean", "ratio=token-weight=sequence_mean"
    assert what_differs(crossed_runs, cell, base) == [
        "objective.clip_high: 0.28 -> 0.0004",
        "objective.clip_low: 0.2 -> 0.0003",
        "objective.ratio: token -> sequence",
    ]
    assert what_differs(crossed_runs, base, base) == []


def test_gspo_plus_differs_from_gspo_in_the_weight_alone(main_runs):
    assert what_differs(main_runs, "gspo_plus", "gspo") == ["objective.weight: sequence_mean -> token_mean"]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiments_cells_differ_in_what_it_declares_and_its_baseline_is_one_of_them(name):
    configs = [compose(job) for job in sweep.expand([f"experiment={name}", "seed=0"])]
    flat = [{key: leaf for key, leaf in flatten(dict(config)) if may_be_a_factor(key)} for config in configs]
    differing = {key for one in flat for key in one if repr(one[key]) != repr(flat[0].get(key))}
    factors = list(configs[0].comparison.factors)
    assert differing
    assert [key for key in differing if not is_under(key, factors)] == []
    assert [factor for factor in factors if not any(is_under(key, [factor]) for key in differing)] == []
    assert configs[0].comparison.baseline in {config.cell for config in configs}


def test_the_clip_range_goes_with_the_ratio():
    ranges = {ratio: compose([f"ratio={ratio}"]).objective for ratio in ("token", "sequence")}
    assert (ranges["token"].clip_low, ranges["token"].clip_high) == (0.2, 0.28)
    assert (ranges["sequence"].clip_low, ranges["sequence"].clip_high) == (3e-4, 4e-4)
