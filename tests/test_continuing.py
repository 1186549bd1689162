"""A run continues from its own checkpoints only, and only where every record is for which the checkpoint vouches."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from trainer import cases

from ablate.cli import compose
from ablate.config import parse
from ablate.display import Display
from ablate.errors import UserError
from ablate.files import replacing, scratch_path, write_atomic
from ablate.files.parquet import write_parquet, write_parts, write_row_groups
from ablate.process.preemption import Preempted
from ablate.records import RunDirectory
from ablate.session import RunState, Session, UnderWay, checkpoints
from ablate.tracking import Mirror
from ablate.train import close_attempt, disk_faults_in_one_sentence
from ablate.trainer.checkpoint.whole_weights import checkpoint_tensors
from ablate.types import EvalRow


class SaidDisplay(Display):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)


def session_of(outputs: Path, tiny_checkpoint: Path, *overrides: str) -> Session:
    """A session of the leader with a real trainer and a real run directory; nothing samples."""
    from omegaconf import OmegaConf

    values = compose(["checkpoint.keep=9", f"paths.outputs={outputs}", *overrides])
    config = parse(values)
    run = RunDirectory(outputs / config.cell)
    run.path.mkdir(parents=True, exist_ok=True)
    if not run.config_path.exists():
        run.claim(OmegaConf.to_yaml(values, resolve=True), [])
    return Session(
        config=config,
        run=run,
        objective=None,
        trainer=cases.open_trainer(tiny_checkpoint, cases.SINGLE),
        sampling=object(),
        display=SaidDisplay(),
        mirror=Mirror(),
        received_signals=[],
    )


def fill(session: Session, last_step: int) -> None:
    """Records of steps 1 to ``last_step``, an evaluation of step 2, and a checkpoint after each step."""
    steps = session.run.steps
    for step in range(1, last_step + 1):
        steps.write_rollouts(step, [{"step": step, "prompt_ids": [1, 2]}])
        if step == 2:
            steps.append_eval([EvalRow(step, 160, "p0", "easy", 0, 17, True, True, "accepted")])
        session.record(step, {"train/loss": step / 3} | ({"eval/pass@1/160": 1.0} if step == 2 else {}))
        checkpoints.save(session, RunState(step=step), UnderWay())


@pytest.fixture(scope="module")
def filled(tmp_path_factory, tiny_checkpoint) -> Path:
    outputs = tmp_path_factory.mktemp("filled")
    fill(session_of(outputs, tiny_checkpoint), 3)
    return outputs


@pytest.fixture
def session(filled, tmp_path, tiny_checkpoint) -> Session:
    """Another process that continues a copy of the run."""
    shutil.copytree(filled, tmp_path / "outputs")
    return session_of(tmp_path / "outputs", tiny_checkpoint)


def test_a_run_with_all_its_records_continues_at_its_newest_checkpoint(session):
    assert checkpoints.restore(session)[0].step == 3
    assert session.display.said == ["continuing after step 3"]


def without_line(path: Path, index: int) -> None:
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:index] + lines[index + 1 :]))


def with_another_score(path: Path) -> None:
    path.write_text(path.read_text().replace('"eval/pass@1/160": 1.0', '"eval/pass@1/160": 0.5'))


HOLES = {  # what happens to the records -> the step where the run continues, and what it says
    "the rollouts of the last step": (
        lambda steps: steps.rollouts_file(3).unlink(),
        2,
        "rollouts/step_00003.parquet is",
    ),
    "rollouts of 0 bytes": (
        lambda steps: os.truncate(steps.rollouts_file(3), 0),
        2,
        "step_00003.parquet has 0 bytes, ",
    ),
    "the line of the last step": (lambda steps: without_line(steps.metrics_path, 2), 2, "no line of step 3"),
    "the evaluation": (lambda steps: steps.eval_path.unlink(), 1, "0 of 1 rows of step 2 at 160 tokens"),
    "an evaluation of 0 bytes": (lambda steps: os.truncate(steps.eval_path, 0), 1, "eval.parquet is not a readable"),
    "a line that differs": (lambda steps: with_another_score(steps.metrics_path), 1, "does not hold the lines"),
}


@pytest.mark.parametrize("what", HOLES)
def test_a_hole_in_the_records_is_named_and_its_steps_are_repeated(session, what):
    damage, step, said = HOLES[what]
    damage(session.run.steps)
    assert checkpoints.restore(session)[0].step == step
    assert said in session.display.said[0]
    rows = [row["step"] for row in session.run.steps.metrics()]
    assert rows == list(range(1, step + 1))
    assert session.run.steps.eval_rows() == [] or step >= 2


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda steps: steps.rollouts_file(1).unlink(), "rollouts/step_00001.parquet is missing"),
        (lambda steps: shutil.rmtree(steps.rollouts_path), "rollouts/step_00001.parquet is missing"),
        (lambda steps: without_line(steps.metrics_path, 0), "metrics.jsonl has no line of step 1"),
        (lambda steps: steps.metrics_path.unlink(), "metrics.jsonl has no line of step 1"),
    ],
)
def test_a_hole_that_every_checkpoint_vouches_for_is_refused_and_nothing_is_lost(session, damage, said):
    damage(session.run.steps)
    before = sorted(session.run.path.rglob("*"))
    with pytest.raises(UserError, match=f"cannot continue: {said}.*restore it from a copy, or remove"):
        checkpoints.restore(session)
    assert sorted(session.run.path.rglob("*")) == before


def test_a_run_that_no_longer_saves_rollouts_continues_without_them(session, filled, tiny_checkpoint):
    shutil.rmtree(session.run.steps.rollouts_path)
    again = session_of(session.run.path.parent, tiny_checkpoint, "logging.save_rollouts=false")
    assert checkpoints.restore(again)[0].step == 3


@pytest.mark.parametrize("override", ["objective=gspo", "optim.lr=0.5", "seed=7"])
def test_a_checkpoint_of_another_run_is_refused_and_named(session, override, tmp_path, tiny_checkpoint):
    other = session_of(tmp_path / "other", tiny_checkpoint, override, "cell=grpo")
    fill(other, 4)
    stranger = session.run.checkpoints_path / "step_000004"
    shutil.copytree(other.run.checkpoints_path / "step_000004", stranger)
    named = "objective.clip_high" if "=gspo" in override else override.partition("=")[0]
    with pytest.raises(UserError, match=f"step_000004 was written by another run.*{named}: ") as refused:
        checkpoints.restore(session)
    assert str(refused.value).endswith("move it to the run that it belongs to, or remove it")
    with pytest.raises(UserError, match="another run"):
        session.trainer.checkpoints.load(session.run.checkpoints_path, 4)
    with pytest.raises(UserError, match="another run"):
        next(checkpoint_tensors(stranger, tiny_checkpoint, cases.SINGLE, 96))
    shutil.rmtree(stranger)
    assert checkpoints.restore(session)[0].step == 3


def test_what_may_change_between_two_attempts_makes_no_other_run(session, tiny_checkpoint):
    again = session_of(session.run.path.parent, tiny_checkpoint, "checkpoint.every=7", "rollout.engine.max_num_seqs=3")
    assert checkpoints.restore(again)[0].step == 3


def write_with_replacing(path: Path) -> None:
    with replacing(path) as scratch:
        scratch.write_bytes(b"bytes")


@pytest.mark.parametrize(
    "write",
    [
        write_with_replacing,
        lambda path: write_atomic(path, "text"),
        lambda path: write_parquet(path, [{"a": 1}]),
        lambda path: write_parts(path, [[{"a": 1}], [{"a": 2}]]),
        lambda path: write_row_groups(path, [{"a": 1}], {"a": int}, 1),
    ],
)
def test_a_file_gets_its_name_once_its_bytes_are_on_disk(write, tmp_path, monkeypatch):
    events = noted_disk_events(monkeypatch)
    path = tmp_path / "file"
    write(path)
    assert events == [("sync", path.stat().st_ino), ("name", str(path)), ("sync", tmp_path.stat().st_ino)]


def test_a_checkpoint_gets_its_name_once_its_bytes_are_on_disk(session, monkeypatch):
    events = noted_disk_events(monkeypatch)
    session.run.steps.rollouts_file(3).stat()
    checkpoints.save(session, RunState(step=4), UnderWay())
    directory = session.run.checkpoints_path / "step_000004"
    named = events.index(("name", str(directory)))
    synced = {inode for kind, inode in events[:named] if kind == "sync"}
    assert {path.stat().st_ino for path in [directory, *directory.rglob("*")]} <= synced
    assert ("sync", session.run.checkpoints_path.stat().st_ino) in events[named:]


def noted_disk_events(monkeypatch) -> list[tuple[str, object]]:
    """Every fsync of a file, by its inode, and every rename, by the new name, in order."""
    events: list[tuple[str, object]] = []
    fsync, replace, rename = os.fsync, Path.replace, Path.rename

    def noted_fsync(file) -> None:
        events.append(("sync", os.fstat(file if isinstance(file, int) else file.fileno()).st_ino))
        fsync(file)

    def noted(name):
        def call(path: Path, target: Path) -> Path:
            events.append(("name", str(target)))
            return name(path, target)

        return call

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted(replace))
    monkeypatch.setattr(Path, "rename", noted(rename))
    return events


def test_a_stop_in_a_run_that_continued_says_which_checkpoint_is_the_newest(session):
    state, under_way = checkpoints.restore(session)
    with pytest.raises(Preempted), checkpoints.written_when_preempted(session, state, under_way):
        raise Preempted
    assert session.display.said[-1] == "preempted: checkpoint written after step 3"


def test_a_scratch_file_of_a_killed_process_is_removed_and_that_of_a_living_one_stays(tmp_path):
    path, ended = tmp_path / "file", subprocess.Popen(["true"])
    ended.wait()
    killed = path.with_name(scratch_path(path).name.replace(str(os.getpid()), str(ended.pid), 1))
    living = path.with_name(scratch_path(path).name.replace(str(os.getpid()), "1", 1))
    for leftover in (killed, living):
        leftover.write_text("half")
    write_atomic(path, "whole")
    assert sorted(tmp_path.iterdir()) == sorted([living, path])


def test_a_run_whose_directory_is_renamed_says_so_and_does_not_bring_the_old_one_back(session):
    run = session.run
    run.owner.lock()
    run.begin_attempt({}, "")
    run.path.rename(run.path.with_name("renamed"))
    for work in (
        lambda: session.record(4, {"train/loss": 0.5}),
        lambda: checkpoints.save(session, RunState(step=4), UnderWay()),
        lambda: run.steps.metrics_path.read_text(),
    ):
        with pytest.raises(UserError, match=r"was renamed or removed.*its name"), disk_faults_in_one_sentence(run):
            work()
    close_attempt(run, True, "failed", "it was renamed")
    assert not run.path.exists()
    run.path.with_name("renamed").rename(run.path)
    session.record(4, {"train/loss": 0.5})
    run.owner.unlock()
