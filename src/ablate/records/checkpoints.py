"""What ``checkpoint=`` means in every command that reads one: a checkpoint, or a run."""

from __future__ import annotations

import re
from pathlib import Path

from ablate.errors import UserError
from ablate.records.run import CONFIG_FILE


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
