"""The three samples of "Why": what each shows is true of it, and its link opens it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hostile_runs import NUM_ROLLOUTS, rollout, text_of, tokens

from ablate.files.parquet import write_parts
from ablate.records import RunDirectory, write_parquet
from ablate.records.token_values import token_file
from ablate_analysis.compare import Comparison, Gap, compare
from ablate_analysis.examples import by_tokens, flip, rewarded
from ablate_analysis.load import Experiment, load_experiment
from ablate_analysis.sections import place_of

GAP = Gap(320, "gspo", "grpo", 0.1, 0.05, 0.15, is_tested=True)


@pytest.fixture
def experiment(recorded: Path, tmp_path: Path) -> Experiment:
    """Two recorded cells; each run has the texts of its last evaluation, and one has values of tokens."""
    for cell in ("grpo", "gspo"):
        shutil.copytree(recorded / "tiny" / cell, tmp_path / "tiny" / cell)
        for path in (tmp_path / "tiny" / cell).iterdir():
            run = RunDirectory(path)
            rows = [row for row in run.steps.eval_rows() if (row.step, row.context) == (40, 320)]
            write_parquet(run.eval_texts.file(40, 320), [text_of(index, row) for index, row in enumerate(rows)])
    run = RunDirectory(tmp_path / "tiny" / "grpo" / "seed0")
    run.steps.write_rollouts(40, [rollout(40, index) for index in range(NUM_ROLLOUTS)])
    write_parts(token_file(run.path / "laboratory", 40, 40), [[tokens(index) for index in range(10)]])
    return load_experiment(tmp_path / "tiny")


@pytest.fixture
def comparison(experiment, settings) -> Comparison:
    return compare(experiment, settings)


def test_one_problem_shows_a_sample_that_passes_above_and_one_that_fails_below(experiment, comparison):
    above, below = flip(experiment, comparison, GAP, difficulty=None)
    assert above.problem == below.problem
    assert (above.run.cell, below.run.cell) == ("gspo", "grpo")
    assert above.verdict == "accepted" != below.verdict
    for example in (above, below):
        rows = example.run.directory.eval_texts.rows(40, 320)
        mine = [row for row in rows if (row["problem_id"], row["sample"]) == (example.problem, example.sample)]
        assert [row["verdict"] for row in mine] == [example.verdict]
        assert place_of(example, GAP).startswith("samples.html#context=320&problem=")
    scores = experiment.scores
    rate = scores[(scores["step"] == 40) & (scores["context"] == 320)].groupby(["problem_id", "cell"])["passed"].mean()
    gaps = rate.unstack()["gspo"] - rate.unstack()["grpo"]
    assert gaps[above.problem] == gaps.max()


def test_without_texts_of_evaluations_no_sample_of_one_is_shown(experiment, comparison):
    for run in experiment.runs:
        shutil.rmtree(run.directory.eval_texts.folder)
    assert list(flip(experiment, comparison, GAP, difficulty=None)) == []


def test_the_rollout_of_the_token_view_is_the_one_whose_gradient_differs_most(experiment, comparison):
    example = by_tokens(experiment, comparison, GAP)
    shares = [[sum(map(abs, tokens(index)[f"{name}/share"])) for name in ("gspo", "grpo")] for index in range(10)]
    gaps = [abs(first - second) for first, second in shares]
    assert gaps[example.number] == max(gaps)
    assert "gspo takes" in example.said
    assert place_of(example, GAP) == f"runs/grpo/seed0/index.html#step=40&rollout={example.number}"


def test_what_training_rewarded_is_an_accepted_rollout_with_the_largest_advantage(experiment, comparison):
    example = rewarded(experiment, comparison, replace(GAP, upper="grpo", lower="gspo"), difficulty=None)
    rows = [rollout(40, index) for index in range(NUM_ROLLOUTS)]
    assert example.verdict == "accepted"
    assert rows[example.number]["advantage"] == max(row["advantage"] for row in rows if row["verdict"] == "accepted")
