"""A fork: a run that starts from a checkpoint of another run, its parent, with everything that the checkpoint holds.

Its own configuration decides all that follows. With the parent's it is the parent's continuation, byte for byte.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from ablate.cli import recorded
from ablate.config import RunConfig, parse
from ablate.errors import UserError
from ablate.records import RunDirectory
from ablate.records.checkpoints import fork_point, missing_fork_point
from ablate.session.session import Session
from ablate.session.state import RunState
from ablate.trainer.checkpoint.directory import name_of, step_of
from ablate.trainer.checkpoint.integrity import COMPLETE

# What the state in a checkpoint refers to: these keys must be the parent's.
FIXED = (
    *("model", "parallel.precision", "rollout.lag"),
    *("data.train", "data.shuffle", "data.pass_counts", "data.max_prompt_tokens"),
)


def parent_of(config: RunConfig) -> RunDirectory | None:
    return None if config.fork.run is None else RunDirectory(Path(config.fork.run))


def parent_config(config: RunConfig) -> RunConfig:
    """The configuration that the parent has recorded; a run that is no fork is its own parent here."""
    parent = parent_of(config)
    return config if parent is None else parse(recorded(parent.config_path, []))


def facts_of_parent(config: RunConfig) -> dict[str, Any] | None:
    """The parent, its step and the digest of its checkpoint, for the manifest; None for a run that is no fork.

    Raises:
        UserError: if the parent has no checkpoint of that step.
    """
    if config.fork.run is None:
        return None
    if sentence := missing_fork_point(config):
        raise UserError(sentence)
    complete = fork_point(config) / COMPLETE
    digest = hashlib.blake2b(complete.read_bytes(), digest_size=16).hexdigest()
    return {"run": str(Path(config.fork.run).absolute()), "step": config.fork.step, "digest": digest}


def begin(session: Session) -> RunState:
    """Load the parent's checkpoint.

    Raises:
        UserError: if the parent is gone or has changed, or this configuration does not fit its state.
    """
    config = session.config
    before = session.run.manifest.read().get("fork") if session.is_leader else None
    if session.is_leader and (now := facts_of_parent(config)) and before and before["digest"] != now["digest"]:
        raise UserError(
            f"step {config.fork.step} of fork.run={config.fork.run} has changed since this fork began: restore it, or "
            f"remove {session.run.path} to begin again"
        )
    check_fits(config, parent_config(config))
    plain = session.trainer.checkpoints.load(Path(config.fork.run) / "checkpoints", config.fork.step)
    state = RunState.of_plain(plain)
    ends = list(accumulate((stage.steps for stage in config.context.stages), initial=0))
    if not (state.stage + 1 < len(ends) and ends[state.stage] < state.step <= ends[state.stage + 1]):
        raise UserError(
            f"fork.step={state.step} is in stage {state.stage + 1} of the parent and not of context.stages: give the "
            "parent's stages up to there"
        )
    if state.unrecorded is not None:
        raise UserError(
            f"step {state.step} of fork.run={config.fork.run} is not evaluated yet: let that run continue first"
        )
    session.display.say(f"forked from step {state.step} of {config.fork.run}")
    return state


def words_that_continue(finished: str, words: Sequence[str]) -> list[str]:
    """``start_from=RUN`` as the words of a fork from the last checkpoint of a finished run, in a cell of its own.

    Raises:
        UserError: if that run is not finished, or its last checkpoint is gone.
    """
    run = RunDirectory(Path(finished))
    steps = sorted(step_of(path.name) for path in run.checkpoints_path.glob("step_*[0-9]"))
    if run.status != "done" or not steps:
        raise UserError(
            f"start_from={finished} is no finished run with a checkpoint: name outputs/EXPERIMENT/CELL/seedN of one "
            "that is done, or fork an unfinished one (fork.run, fork.step)"
        )
    own = [] if any(word.startswith("cell=") for word in words) else [f'cell="{run.path.parent.name}-from-{steps[-1]}"']
    return [f"fork.run='{finished}'", f"fork.step={steps[-1]}", *own]


def check_fits(config: RunConfig, parent: RunConfig) -> None:
    """Raise ``UserError`` where the state of the parent means nothing under this configuration."""
    for key in FIXED:
        own, its = config, parent
        for name in key.split("."):
            own, its = getattr(own, name), getattr(its, name)
        if own != its:
            raise UserError(f"{key} must be that of fork.run={config.fork.run}, whose state refers to it: leave it out")
    if config.fork.step >= config.context.num_steps:
        raise UserError(
            f"fork.step={config.fork.step} leaves no step of {config.context.num_steps}, which count from the parent's "
            "start: raise context.steps"
        )


def checkpoints_with(session: Session, step: int) -> Path:
    """The directory of the checkpoints that has the one of ``step``: the parent's, for steps before the fork."""
    parent, own = parent_of(session.config), session.run.checkpoints_path
    is_parents = parent is not None and step <= session.config.fork.step and not (own / name_of(step)).is_dir()
    return parent.checkpoints_path if is_parents else own
