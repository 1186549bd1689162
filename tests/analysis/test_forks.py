"""Forks in the report: what is paired with what, over what an interval is, and what is left out."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from ablate.config import ComparisonConfig
from ablate.errors import UserError
from ablate.files.parquet import write_parquet
from ablate_analysis import forks
from ablate_analysis.forks import CHANGE, EVERY
from ablate_analysis.load import Experiment, load_experiment
from ablate_analysis.report import ReportConfig, write_report

POINTS, SEEDS, REPEATS = (5, 15), (0, 1, 2), (0, 1)
SOURCE = {("dapo", 0): "dapo", ("dapo", 1): "grpo", ("gspo", 0): "gspo", ("gspo", 1): "gspo_plus"}  # (arm, repeat)
DECLARED = ComparisonConfig(
    ["objective", "fork"], "dapo", min_seeds=2, longer_context=None, design=None, note=None, published=[]
)


@pytest.fixture(scope="module")
def forked(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recorded runs as branches: at step 15 the parents' branches are those of step 5, in another order."""
    root = tmp_path_factory.mktemp("forks")
    for (arm, repeat), source in SOURCE.items():
        for point in POINTS:
            for seed in SEEDS:
                cell = f"{arm}-at{point}-repeat{repeat}"
                taken = seed if point == 5 or arm == "dapo" else (seed + 1) % len(SEEDS)
                run = Path(shutil.copytree(recorded / "main" / source / f"seed{taken}", root / cell / f"seed{seed}"))
                config = yaml.safe_load((run / "config.yaml").read_text())
                config |= {"cell": cell, "seed": seed}
                config["fork"] = {"run": f"{root}/parents/seed{seed}", "step": point, "repeat": repeat}
                config["objective"]["name"] = arm
                config["context"]["stages"] = [{"length": 160, "steps": point + 8}]
                (run / "config.yaml").write_text(yaml.safe_dump(config))
    return root


@pytest.fixture(scope="module")
def branches(forked: Path) -> forks.Branches:
    return forks.read_branches(load_experiment(forked), "dapo")


def passed(recorded: Path, cell: str, context: int) -> np.ndarray:
    """Pass@1 of a recorded cell after training, by seed."""
    scores = load_experiment(recorded / "main").scores
    last = scores[(scores["step"] == scores["step"].max()) & (scores["cell"] == cell) & (scores["context"] == context)]
    return last.groupby("seed")["passed"].mean().to_numpy()


def test_an_effect_is_the_mean_of_paired_differences_over_parents_repeats_and_problems(branches, recorded):
    assert (branches.arms, branches.points, branches.parents, branches.repeats) == (
        ("dapo", "gspo"), POINTS, SEEDS, REPEATS,
    )  # fmt: skip
    assert (branches.num_steps, branches.num_left_out) == (8, 0)
    frame = forks.effects(branches, 200, 0.95, 0).set_index(["context", "point"])
    by_cell = {cell: passed(recorded, cell, 320) for cell in ("dapo", "grpo", "gspo", "gspo_plus")}
    effect = (by_cell["gspo"] + by_cell["gspo_plus"] - by_cell["dapo"] - by_cell["grpo"]).mean() / 2
    assert frame.loc[(320, 5), "effect"] == pytest.approx(effect)
    assert frame.loc[(320, EVERY), "effect"] == pytest.approx(effect)
    assert frame.loc[(320, CHANGE), "effect"] == pytest.approx(0, abs=1e-12)
    assert (frame["low"] <= frame["effect"]).all()
    assert (frame["effect"] <= frame["high"]).all()


def test_repeats_of_a_parent_are_one_unit_and_those_of_a_single_parent_are_the_units(branches, forked):
    assert branches.units(branches.score[320, 5]).shape[:2] == (2, 3)
    experiment = load_experiment(forked)
    alone = only(experiment, [run.name for run in experiment.runs if run.seed == 1])
    one = forks.read_branches(alone, "dapo")
    np.testing.assert_array_equal(one.units(one.score[320, 5]), branches.score[320, 5][:, 1])
    assert "say nothing about other runs" in forks.what_may_be_concluded(one)
    assert "other runs of the same cell" in forks.what_may_be_concluded(branches)


def only(experiment: Experiment, names: list[str]) -> Experiment:
    runs = tuple(run for run in experiment.runs if run.name in names)
    return replace(experiment, runs=runs, scores=experiment.scores[experiment.scores["run"].isin(names)])


def test_the_noise_of_repeats_and_of_parents_is_told_apart(branches):
    rng = np.random.default_rng(0)
    parent, repeat = rng.normal(0, 0.03, (2, 400, 1, 1)), rng.normal(0, 0.01, (2, 400, 3, 1))
    made = replace(branches, score={(320, 5): 0.5 + parent + repeat + np.zeros((1, 1, 1, 2))})
    of_parents, of_repeats = forks.deviations(made, 320, 5)
    assert of_parents == pytest.approx(0.03 * 2**0.5, rel=0.1)
    assert of_repeats == pytest.approx(0.01 * 2**0.5, rel=0.1)


def test_a_repeat_that_is_not_complete_is_left_out_and_counted(forked):
    experiment = load_experiment(forked)
    names = [run.name for run in experiment.runs if run.name != "gspo-at15-repeat1/seed2"]
    found = forks.read_branches(only(experiment, names), "dapo")
    assert (found.repeats, found.num_left_out) == ((0,), 11)
    none = [name for name in names if not name.startswith("gspo-at5")]
    with pytest.raises(UserError, match="no repeat has every arm at every fork point"):
        forks.read_branches(only(experiment, none), "dapo")
    with pytest.raises(UserError, match="baseline=grpo is not an arm of these forks: use one of dapo, gspo"):
        forks.read_branches(experiment, "grpo")


def test_the_report_says_what_may_be_concluded_and_shows_the_laboratory_at_the_fork_points(forked, tmp_path):
    about = {"toggle": "as configured", "measure": "cosine_parameters"}
    for seed, value in zip(SEEDS, (0.1, 0.2, 0.6), strict=True):
        rows = [about | {"checkpoint": 5, "objective": "gspo", "bucket": "dapo", "value": value}]
        write_parquet(forked / f"parents/seed{seed}/laboratory/laboratory.parquet", rows)
    config = ReportConfig(str(tmp_path), "refuse", 1, 200, 0.95, 0.8, 0, 3, run_pages=False)
    declared = replace(DECLARED, factors=["objective", "fork", "context.stages"])
    report = write_report(forked, config, declared)
    page, text = report.page.read_text(), (tmp_path / "table.md").read_text()
    for shown in (page, text):
        assert "An arm that pays late looks useless here." in shown
        assert "8 steps" in shown
        assert "+0.30" in shown, "the mean cosine of the three parents"
    assert {"effects_of_forks.png", "effects.csv"} <= {path.name for path in tmp_path.iterdir()}
    assert len(pd.read_csv(tmp_path / "effects.csv")) == 2 * (len(POINTS) + 2)
