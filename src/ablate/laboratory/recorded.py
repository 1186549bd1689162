"""The rollouts of a past run as a batch, with the old log-probabilities that training used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ablate.errors import UserError
from ablate.objectives import Objective
from ablate.records import RunDirectory
from ablate.records.rollouts import RecordedStep
from ablate.trainer.batching import make_batch
from ablate.types import TrainBatch


def run_of(rollouts: Path) -> RunDirectory:
    """The run that a folder of rollouts belongs to; the folder of the run itself is accepted too.

    Raises:
        UserError: if there is no run.
    """
    for path in (rollouts, rollouts.parent):
        if RunDirectory(path).config_path.exists():
            return RunDirectory(path)
    raise UserError(f"rollouts={rollouts} is not inside a run (there is no config.yaml): name a run's rollouts folder")


def recorded_batch(recorded: RecordedStep, objective: Objective) -> TrainBatch:
    """The step as one batch for this objective: its advantages and weights, and the recorded old log-probabilities."""
    batch = make_batch(recorded.groups, objective)
    return replace(batch, old_logp_BT=laid_out(recorded.old_logp, batch.mask_BT))


def laid_out(values: Sequence[Sequence[float]], mask_BT: Tensor) -> Tensor:
    """Put one list of numbers per row at the positions of its response tokens; 0 elsewhere."""
    laid_BT = torch.zeros(mask_BT.shape)
    laid_BT[mask_BT] = torch.tensor([value for row in values for value in row])
    return laid_BT
