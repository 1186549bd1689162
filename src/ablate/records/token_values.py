"""RUN/laboratory/tokens/: what each objective does with each token. ``ablate.laboratory tokens=true`` writes it.

One file per step and checkpoint, with one row per rollout. Lists have one entry per token of the response:

    rollout problem_id sample    which row of the step's rollouts
    tokens                       texts: together they are the response with its special tokens
    logp old_logp rollout_logp   nats: at the checkpoint, before the step's first update, the engine's
    NAME/share       -dL/dlogp over the sum of |dL/dlogp| of the batch: positive makes the token more likely
    NAME/clip        -1 or 1 where the clip of the objective NAME binds, below or above a ratio of 1; else 0
    NAME/log_ratio   log of the objective's own ratio, per token or per sequence
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.files.parquet import column_names, iterate_parquet

FOLDER = "tokens"
NAME = re.compile(r"step_(\d+)_checkpoint_(\d+)\.parquet")
ROWS_AT_ONCE = 16


@dataclass(frozen=True)
class TokenFile:
    """The values of one step's rollouts with the weights of one checkpoint."""

    path: Path
    step: int
    checkpoint: int

    @property
    def objectives(self) -> list[str]:
        """In the order in which they were asked for."""
        return [name.removesuffix("/share") for name in column_names(self.path) if name.endswith("/share")]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows in order; holds a few of them in memory."""
        yield from iterate_parquet(self.path, column_names(self.path), ROWS_AT_ONCE)


def token_file(laboratory: Path, step: int, checkpoint: int) -> Path:
    """Where the values are, in the laboratory's folder of a run."""
    return laboratory / FOLDER / f"step_{step:05d}_checkpoint_{checkpoint:06d}.parquet"


def token_files(run: Path) -> list[TokenFile]:
    """Every such file of the run at ``run``, by step and checkpoint."""
    found = []
    for path in (run / "laboratory" / FOLDER).glob("*.parquet"):
        if match := NAME.fullmatch(path.name):
            found.append(TokenFile(path, int(match[1]), int(match[2])))
    return sorted(found, key=lambda file: (file.step, file.checkpoint))
