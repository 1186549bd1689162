"""The rule that chooses a learning rate for each objective, and the report of both stages."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from omegaconf import OmegaConf

from ablate_analysis.load import load_experiment
from ablate_analysis.tuning import rates, stages


def test_the_rate_with_the_best_last_score_at_the_longest_context_is_chosen_and_ties_go_to_the_lower_one():
    rows, rate_of = [], {}
    scores = {("grpo", 1e-4): 0.5, ("grpo", 2e-4): 0.75, ("gspo", 1e-4): 0.5, ("gspo", 2e-4): 0.5}
    for (objective, rate), score in scores.items():
        for seed in (0, 1):
            run = f"{objective}-{rate}/seed{seed}"
            rate_of[run] = rate
            for sample in range(4):
                last = {"objective": objective, "run": run, "step": 40, "passed": sample < 4 * score}
                rows += [last | {"context": 320}, last | {"context": 128, "passed": rate == 1e-4}]
                rows.append(last | {"context": 320, "step": 0, "passed": rate == 1e-4})  # the start counts for nothing
    table = rates(pd.DataFrame(rows), rate_of)
    chosen = table[table["chosen"]].set_index("objective")["rate"].to_dict()
    assert chosen == {"grpo": 2e-4, "gspo": 1e-4}
    assert table.set_index(["objective", "rate"])["score"].to_dict() == scores
    assert set(table["seeds"]) == {2}


def write_stage(recorded: Path, outputs: Path, name: str, passed: dict[tuple[str, float], float], seeds: range) -> Path:
    """Recorded runs as one stage: for every (objective, rate) the share of the problems that pass at every step."""
    for (objective, rate), share in passed.items():
        for seed in seeds:
            run = outputs / name / f"{objective}-lr={rate:g}" / f"seed{seed}"
            shutil.copytree(recorded / "main" / objective / "seed0", run)
            config = OmegaConf.load(run / "config.yaml")
            config.merge_with({"seed": seed, "cell": run.parent.name, "experiment": name, "optim": {"lr": rate}})
            config.merge_with({"comparison": {"baseline": "grpo-lr=0.0001"}, "data": {"eval": f"{name}.jsonl"}})
            OmegaConf.save(config, run / "config.yaml")
            rows = pd.read_parquet(run / "eval.parquet")
            problem = pd.factorize(rows["problem_id"])[0]
            rows["passed"] = problem < share * (problem.max() + 1)
            rows["problem_id"] = name + "-" + rows["problem_id"]
            rows.to_parquet(run / "eval.parquet")
    return outputs / name


@pytest.fixture
def two_stages(recorded, tmp_path) -> Path:
    grid = {("grpo", 1e-4): 0.75, ("grpo", 2e-4): 0.5, ("gspo", 1e-4): 0.25, ("gspo", 2e-4): 0.5}
    write_stage(recorded, tmp_path, "tuning", grid, range(100, 102))
    return write_stage(recorded, tmp_path, "tuned", {("grpo", 1e-4): 0.625, ("gspo", 2e-4): 0.875}, range(2))


def test_the_report_shows_the_grid_with_the_choice_and_then_the_comparison(two_stages):
    doubts, (table,) = stages(load_experiment(two_stages), "tuning")
    assert doubts == []
    assert table.rows == (("GRPO", "75.0 (chosen)", "50.0", "62.5"), ("GSPO", "25.0", "50.0 (chosen)", "87.5"))
    assert "experiment=tuning): 16 problems of tuning.jsonl, seeds 100, 101." in table.note
    assert "experiment=tuned): 16 problems of tuned.jsonl, seeds 0, 1." in table.note
    assert "between two rates is 0.0 points" in table.note


def test_a_second_stage_that_is_not_fresh_is_said(two_stages):
    second = load_experiment(two_stages)
    doubts, _ = stages(load_experiment(two_stages.parent / "tuning"), "tuned")  # the stages changed places
    assert "GRPO, lr=0.0002 trains at 0.0002, and stage 1 chose 0.0001 for it." in doubts
    mixed = replace(second, scores=second.scores.assign(problem_id="tuning-" + second.scores["problem_id"].str[6:]))
    assert stages(mixed, "tuning")[0] == [
        "16 of the 16 evaluation problems also chose the rates: they are not held out."
    ]
    (two_stages.parent / "tuning/gspo-lr=0.0002/seed101/manifest.json").write_text('{"status": "running"}')
    assert stages(second, "tuning")[0] == ["Stage 1 is unfinished: 1 of its 8 runs are missing a result."]
    again = replace(second, runs=tuple(replace(run, config={**run.config, "seed": 100}) for run in second.runs))
    assert "The seeds 100 belong to both stages: they are not fresh." in stages(again, "tuning")[0]
    (said,), tables = stages(second, "absent")
    assert said.startswith("Stage 1 cannot be shown, so the learning rates are taken on trust: ")
    assert tables == []


def test_an_experiment_that_tuned_nothing_has_one_stage(main_runs):
    assert stages(main_runs, None) == ([], [])
