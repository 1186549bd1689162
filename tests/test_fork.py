"""A fork with its parent's configuration continues it byte for byte; what it cannot start from is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import forks
import pytest
import torch
from test_continuing import fill, session_of

from ablate.errors import UserError
from ablate.records import RunDirectory
from ablate.session import checkpoints
from ablate.session.fork import words_that_continue

DEADLINE_S = 1200
SHORT = [
    *("experiment=tiny", "setting=arithmetic", "objective=dapo", "seed=5", "context.steps=5", "rollout.lag=1"),
    *("rollout.prompts_per_step=2", "rollout.samples_per_prompt=4", "eval.samples_per_problem=1", "eval.pass_at=[1]"),
    *("eval.at_start=false", "eval.contexts=[{length:160,every:4}]", "checkpoint.every=1", "checkpoint.keep=9"),
    *("optim.schedule=cosine", "logging.display=plain", "logging.wandb=disabled"),
]


def train(outputs: Path, *overrides: str) -> None:
    words = ["-m", "ablate.train", f"paths.outputs={outputs}", *SHORT, *overrides]
    result = forks.run(words, timeout=DEADLINE_S)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.timeout(3600)
def test_a_fork_with_the_configuration_of_its_parent_continues_it_byte_for_byte(tmp_path, tiny_model):
    train(tmp_path)
    parent, fork = (RunDirectory(tmp_path / "tiny" / cell / "seed5") for cell in ("dapo", "fork"))
    train(tmp_path, "cell=fork", f"fork.run={parent.path}", "fork.step=2")
    lines = parent.steps.metrics_path.read_text().splitlines(keepends=True)
    assert fork.steps.metrics_path.read_text() == "".join(lines[2:])
    assert [path.name for path in sorted(fork.steps.rollouts_path.iterdir())] == [
        f"step_{step:05d}.parquet" for step in (3, 4, 5)
    ]
    for step in (3, 4, 5):
        assert fork.steps.rollouts_file(step).read_bytes() == parent.steps.rollouts_file(step).read_bytes()
    assert fork.steps.eval_rows() == parent.steps.eval_rows()
    assert fork.selected() == parent.selected()
    recorded = fork.manifest.read()["fork"]
    assert (recorded["run"], recorded["step"], len(recorded["digest"])) == (str(parent.path), 2, 32)


@pytest.fixture
def parent(tmp_path, tiny_checkpoint) -> Path:
    session = session_of(tmp_path / "parent", tiny_checkpoint, "context.steps=9")
    fill(session, 3)
    return session.run.path


def test_a_fork_starts_where_its_parent_was_and_resumes_from_its_own_checkpoints(parent, tmp_path, tiny_checkpoint):
    words = (f"fork.run={parent}", "fork.step=2", "context.steps=9", "objective=gspo", "cell=grpo")
    fork = session_of(tmp_path / "fork", tiny_checkpoint, *words)
    state, under_way = checkpoints.restore(fork)
    assert (state.step, under_way.saved) == (2, None)
    state.step = 3
    fork.record(3, {"train/loss": 0.5})
    checkpoints.save(fork, state, under_way)
    shutil.rmtree(parent)
    again = session_of(tmp_path / "fork", tiny_checkpoint, *words)
    assert checkpoints.restore(again)[0].step == 3, "the parent is not needed any more"
    assert [row["step"] for row in again.run.steps.metrics()] == [3]


def test_a_stage_of_a_fork_begins_with_the_best_checkpoint_of_its_parent(parent, tmp_path, tiny_checkpoint):
    words = (f"fork.run={parent}", "fork.step=2", "context.stages=[{length:128,steps:3},{length:160,steps:2}]")
    fork = session_of(tmp_path / "fork", tiny_checkpoint, *words)
    state, under_way = checkpoints.restore(fork)
    weights = list(fork.trainer.checkpoints.state.model.parameters())
    before = [each.detach().clone() for each in weights]
    with torch.no_grad():
        weights[0].add_(1.0)  # a step of the fork
    state.step, state.scores = 3, {1: 0.9, 2: 0.1, 3: 0.5}
    fork.record(3, {"train/loss": 0.5})
    checkpoints.save(fork, state, under_way)
    checkpoints.enter_stage(fork, 1, state)
    assert fork.display.said[-1] == "stage 2 continues from step 1, the best of stage 1"
    assert all(map(torch.equal, before, weights)), "the parent's checkpoint of step 1"
    assert [path.name for path in fork.run.checkpoints_path.glob("step_*")] == ["step_000003"]
    shutil.rmtree(parent)
    state.stage, state.scores = 0, {1: 0.9}
    with pytest.raises(UserError, match="step_000001"):
        checkpoints.enter_stage(fork, 1, state)


def test_start_from_is_a_fork_from_the_last_checkpoint_of_a_finished_run(parent, tmp_path, tiny_checkpoint):
    with pytest.raises(UserError, match="is no finished run with a checkpoint"):
        words_that_continue(str(parent), [])
    run = RunDirectory(parent)
    run.begin_attempt({}, "")
    run.end_attempt("done")
    words = words_that_continue(str(parent), [])
    assert words == [f"fork.run='{parent}'", "fork.step=3", f'cell="{parent.parent.name}-from-3"']
    assert words_that_continue(str(parent), ["cell=mine"]) == words[:2]
    longer = session_of(tmp_path / "longer", tiny_checkpoint, *words, "context.steps=9")
    assert checkpoints.restore(longer)[0].step == 3
    assert longer.config.cell.endswith("-from-3")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fork.step=4"], "has no checkpoint of fork.step=4: name a step that is in"),
        (["fork.step=2", "rollout.lag=1"], "rollout.lag must be that of fork.run="),
        (["fork.step=2", "context.steps=2"], "leaves no step of 2, which count from the parent's start"),
        (["fork.step=2", "context.stages=[{length:128,steps:1},{length:160,steps:9}]"], "is in stage 1 of the parent"),
        (["fork.step=null"], "fork.run and fork.step belong together"),
        (["fork.run=null", "fork.step=null", "fork.repeat=1"], "fork.repeat=1 repeats a fork: give fork.run"),
    ],
)
def test_a_fork_that_does_not_fit_its_parent_is_refused_in_one_sentence(parent, tmp_path, tiny_checkpoint, words, said):
    with pytest.raises(UserError, match=said):
        checkpoints.restore(
            session_of(tmp_path / "fork", tiny_checkpoint, f"fork.run={parent}", "context.steps=9", *words)
        )


def test_a_parent_that_has_changed_since_the_fork_began_is_refused(parent, tmp_path, tiny_checkpoint):
    words = (f"fork.run={parent}", "fork.step=2", "context.steps=9")
    fork = session_of(tmp_path / "fork", tiny_checkpoint, *words)
    fork.run.manifest.path.write_text(json.dumps({"fork": {"digest": "another"}}))
    with pytest.raises(UserError, match="has changed since this fork began"):
        checkpoints.restore(fork)
