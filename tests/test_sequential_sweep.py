"""A sweep with a declared design makes only the runs that it needs, and says when its comparison is decided."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from ablate.errors import UserError
from ablate.records import RunDirectory
from ablate.sweep import planned_runs
from ablate.types import EvalRow
from ablate_analysis.next_runs import what_next

WORDS = ["experiment=sequential"]


@pytest.fixture(scope="module")
def planned():
    """The runs of seed 0, from which those of the other seeds differ in nothing else."""
    return planned_runs([*WORDS, "seed=0"])


@pytest.fixture
def runs(planned, tmp_path):
    return [
        replace(
            run,
            config=replace(run.config, seed=seed),
            directory=tmp_path / "sequential" / run.config.cell / f"seed{seed}",
        )
        for seed in range(16)
        for run in planned
    ]


def make(run, share: float) -> None:
    """Records of a run that passed this share of 100 samples."""
    directory = RunDirectory(run.directory)
    run.directory.mkdir(parents=True)
    row = EvalRow(step=40, context=320, problem_id="p", difficulty="easy", sample=0, num_tokens=9, finished=True,
                  passed=True, verdict="accepted")  # fmt: skip
    directory.steps.append_eval(replace(row, sample=n, passed=n < 100 * share) for n in range(100))
    directory.begin_attempt({}, "")
    directory.end_attempt("done")


def make_all(runs, gap: float, noise: float, seed: int = 0) -> int:
    """Make what is next until nothing is; return the number of runs that were made."""
    rng = np.random.default_rng(seed)
    count = 0
    while found := what_next(runs).runs:
        for run in found:
            make(run, 0.5 + (gap if run.config.cell == "gspo_plus" else 0.0) + rng.normal(0, noise))
        count += len(found)
    return count


def test_the_first_runs_are_those_of_the_first_look(runs):
    found = what_next(runs)
    assert {run.config.seed for run in found.runs} == {0, 1, 2, 3}
    assert len(found.runs) == 8
    assert not found.looks


def test_a_large_difference_is_decided_early_and_says_that_its_size_is_too_large(runs):
    made = make_all(runs, gap=0.3, noise=0.05)
    found = what_next(runs)
    assert made < len(runs)
    assert found.looks[-1].verdict == "claim"
    assert "decided: gspo_plus above gspo" in found.sentence
    assert "too large on average" in found.sentence


def test_nothing_to_find_is_stopped_as_futile(runs):
    made = make_all(runs, gap=0.0, noise=0.15, seed=1)
    assert what_next(runs).looks[-1].verdict in ("futile", "end")
    assert made <= len(runs)


def test_runs_that_are_done_already_are_used_and_looks_are_recorded(runs, tmp_path):
    for run in runs:
        if run.config.seed < 6:
            make(run, 0.5 + 0.05 * (run.config.seed % 3) * (run.config.cell == "gspo"))
    found = what_next(runs)
    assert [look.num_seeds for look in found.looks] == [4]
    assert {run.config.seed for run in found.runs} == {6, 7}
    assert json.loads((tmp_path / "sequential" / "looks.json").read_text()) == {"looks": [4]}
    assert what_next(runs) == found


def test_a_look_in_between_raises_the_bar_of_the_looks_after_it(runs, tmp_path):
    for run in runs:
        if run.config.seed < 8:
            make(run, 0.5 + 0.01 * run.config.seed * (run.config.cell == "gspo"))
    plain = what_next(runs).looks[-1].level
    (tmp_path / "sequential" / "looks.json").write_text(json.dumps({"looks": [4, 6, 7]}))
    assert what_next(runs).looks[-1].level < plain


def test_a_sweep_without_a_design_is_refused():
    with pytest.raises(UserError, match="declares no comparison"):
        what_next(planned_runs(["experiment=tiny", "seed=0"]))


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("comparison.design.looks=[8,4]", "must grow"),
        ("comparison.design.effect=15", "must lie between"),
        ("comparison.design.context=999", "is not evaluated"),
        ("comparison.design.cell=gspo", "the baseline"),
    ],
)
def test_a_design_that_cannot_be_kept_is_refused_before_the_runs(word, sentence):
    with pytest.raises(UserError, match=sentence):
        planned_runs([*WORDS, "seed=0", word])


def test_too_few_seeds_for_the_last_look_are_refused(tmp_path):
    with pytest.raises(UserError, match="looks at 16 seeds, and the sweep has 2"):
        what_next(planned_runs([*WORDS, "seed=0,1", f"paths.outputs={tmp_path}"]))
