"""A run's checkpoints: what they hold, when they are written, and where a run continues."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ablate.errors import UserError
from ablate.process.preemption import Preempted
from ablate.records.provenance import computing_values
from ablate.session import fork, rollouts
from ablate.session.session import Session
from ablate.session.state import RunState
from ablate.session.under_way import UnderWay


def restore(session: Session) -> tuple[RunState, UnderWay]:
    """Continue at the newest checkpoint that is whole and whose records are here; drop the records of later steps.

    Raises:
        UserError: if every checkpoint vouches for records that are missing.
    """
    faults: list[str] = []

    def fault_of(facts: dict[str, Any]) -> str | None:
        vouched, needs_rollouts = facts.get("records"), session.config.logging.save_rollouts
        fault = session.run.steps.lacking(vouched, needs_rollouts) if vouched else None
        faults.extend([fault] if fault else [])
        return fault

    path = session.run.checkpoints_path
    plain = session.trainer.checkpoints.load_newest(path, session.display.say, fault_of)
    if plain is None and faults:
        raise UserError(
            f"{session.run.path} cannot continue: {faults[-1]}, and every checkpoint vouches for it: restore it from a "
            f"copy, or remove {path} to repeat the run from its first step"
        )
    is_fork = plain is None and session.config.fork.run is not None
    state = RunState.of_plain(plain) if plain else fork.begin(session) if is_fork else RunState()
    repeated = ""
    if session.is_leader:
        step, is_evaluated = (state.step, state.unrecorded is None) if plain or is_fork else (-1, True)
        later = {row["step"] for row in session.run.steps.metrics() if row["step"] > max(0, step - (not is_evaluated))}
        repeated = f"; steps without a checkpoint are repeated: {len(later)}" if later else ""
        session.run.steps.keep_through(step, is_evaluated)
        session.run.eval_texts.keep_through(step)
    if plain:
        session.display.say(f"continuing after step {state.step}{repeated}")
    elif repeated:
        session.display.say(f"beginning again, because no checkpoint was written{repeated}")
    return state, UnderWay(saved=(state.step, state.unrecorded is None) if plain else None)


def save(session: Session, state: RunState, under_way: UnderWay) -> None:
    """Write a checkpoint of ``state`` and of the trainer's weights, unless the newest one is the same."""
    if under_way.saved == (state.step, state.unrecorded is None):
        return
    rollouts.finish_writing(session, under_way, state.step)
    keep = session.config.checkpoint
    with session.timed("checkpoint", state.step):
        session.trainer.checkpoints.save(
            session.run.checkpoints_path,
            state.step,
            state.as_plain(),
            keep=keep.keep,
            named=keep.keep_steps,
            best=best_of(session, state),
            facts=facts_of(session, state.step, state.unrecorded is None),
            asynchronous=keep.asynchronous,
        )
    under_way.saved = (state.step, state.unrecorded is None)


def add_scores(session: Session, step: int, state: RunState, under_way: UnderWay) -> None:
    """Let the checkpoint of ``step``, which was written before the evaluation of its weights, know their scores."""
    if under_way.saved != (step, False):
        return
    keep = session.config.checkpoint
    with session.timed("checkpoint", step):
        session.trainer.checkpoints.amend(
            session.run.checkpoints_path,
            step,
            {"scores": dict(state.scores), "unrecorded": None},
            keep=keep.keep,
            named=keep.keep_steps,
            best=best_of(session, state),
            facts=facts_of(session, step, True),
        )
    under_way.saved = (step, True)


def best_of(session: Session, state: RunState) -> int | None:
    """The step whose checkpoint is kept as the best one; the parent of a fork keeps its own."""
    best = state.best_step if session.config.checkpoint.keep_best else None
    is_parents = best is not None and session.config.fork.run is not None and best <= session.config.fork.step
    return None if is_parents else best


def facts_of(session: Session, step: int, is_evaluated: bool) -> dict[str, Any] | None:
    """On the leader: the run to which a checkpoint of ``step`` belongs, and the records for which it vouches."""
    if not session.is_leader:
        return None
    run = session.run
    return {"run": computing_values(run.config_yaml()), "records": run.steps.vouched(step, is_evaluated)}


def publish(session: Session) -> None:
    """Let an asynchronous checkpoint count as soon as it is written, so that a crash goes back no further."""
    session.trainer.checkpoints.publish_if_written()


def enter_stage(session: Session, index: int, state: RunState) -> None:
    """Begin a context stage; every stage after the first starts from the best checkpoint of the stage before."""
    if index > state.stage:
        best = state.best_step
        if best is not None and best != state.step:
            session.let_servers_sleep(state.step)
            session.trainer.checkpoints.load(fork.checkpoints_with(session, best), best)
            session.display.say(f"stage {index + 1} continues from step {best}, the best of stage {index}")
        state.stage, state.scores = index, {}


@contextmanager
def written_when_preempted(session: Session, state: RunState, under_way: UnderWay) -> Iterator[None]:
    """Before the process leaves: write a checkpoint, unless the newest one holds ``state`` already.

    Before the first step there is nothing to save, and a state that is not whole is not saved. The samples of an
    evaluation that was interrupted are kept.
    """
    try:
        yield
    except Preempted:
        if state.step > 0 and under_way.is_whole(state, session.config.rollout.lag):
            with suppress(Preempted):  # a server that hangs is why the run leaves
                session.let_servers_sleep(state.step)
            save(session, state, under_way)
        session.trainer.checkpoints.finish_save()
        saved = under_way.saved
        done = f"checkpoint written after step {saved[0]}" if saved else "no checkpoint is written yet"
        session.display.say(f"preempted: {done}")
        raise
