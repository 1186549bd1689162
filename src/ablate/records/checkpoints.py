"""What ``checkpoint=`` means in every command that reads one: a checkpoint, or a run. And where a fork starts."""

from __future__ import annotations

import re
from pathlib import Path

from ablate.config import RunConfig
from ablate.errors import UserError
from ablate.records.run import CONFIG_FILE, RunDirectory, run_path


def checkpoint_directory(checkpoint: Path) -> Path:
    """The checkpoint that ``checkpoint=`` means: itself, the one that ``latest`` or ``best`` names, or a run's best.

    Args:
        checkpoint: ``RUN/checkpoints/step_…``, ``RUN/checkpoints/latest`` or ``best``, or ``RUN``: its best
            checkpoint, or the newest one while none is known to be the best.

    Raises:
        UserError: when there is no checkpoint of a run.
    """
    if (checkpoint / CONFIG_FILE).is_file():
        names = [checkpoint / "checkpoints" / name for name in ("best", "latest")]
        checkpoint = next((name for name in names if name.is_file()), names[0])
    is_name = checkpoint.name in ("latest", "best") and checkpoint.is_file()
    named = checkpoint.parent / checkpoint.read_text().strip() if is_name else checkpoint
    fix = "name a run, or a directory checkpoints/step_… of a run"
    if not named.is_dir():
        raise UserError(f"checkpoint={checkpoint} does not exist: {fix}")
    if not re.fullmatch(r"step_\d+", named.name) or named.resolve().parent.name != "checkpoints":
        raise UserError(f"checkpoint={checkpoint} is not a checkpoint: {fix}")
    return named


def fork_point(config: RunConfig) -> Path:
    """The parent's checkpoint from which a fork starts."""
    return RunDirectory(Path(config.fork.run)).checkpoints_path / f"step_{config.fork.step:06d}"


def missing_fork_point(config: RunConfig) -> str | None:
    """A sentence if the parent of a fork has no checkpoint of its step; None for a fork that has checkpoints itself."""
    if config.fork.run is None or (fork_point(config) / "complete.json").is_file():
        return None
    if any(RunDirectory(run_path(config)).checkpoints_path.glob("step_*")):
        return None
    return (
        f"fork.run={config.fork.run} has no checkpoint of fork.step={config.fork.step}: name a step that is in "
        f"{fork_point(config).parent}, or make that run first and keep the step (checkpoint.keep_steps)"
    )
