"""What each objective does with the same rollouts in log-probability space, without checkpoint, trainer or engine.

``ablate.laboratory`` does the same with a checkpoint's own log-probabilities (docs/laboratory.md). Here the
policy is moved by hand: normal noise on the log-probability of every recorded token. Shapes as in ``ablate.types``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ablate import objectives
from ablate.errors import UserError
from ablate.laboratory.measures import rollout_rows
from ablate.laboratory.recorded import recorded_batch
from ablate.objectives import Objective
from ablate.objectives.laws.step import loss_and_gradient
from ablate.objectives.metrics import step_metrics
from ablate.records.rollouts import RecordedStep, read_step
from ablate.types import TrainBatch
from ablate_analysis.load import Experiment


def objectives_of(experiment: Experiment) -> dict[str, Objective]:
    """Cell -> its objective, rebuilt from the recorded configuration."""
    return {cell: objectives.build(experiment.runs_of(cell)[0].config["objective"]) for cell in experiment.cells}


def recorded_step(experiment: Experiment) -> tuple[str, RecordedStep]:
    """The first run that kept rollouts, and the last step that it kept.

    Raises:
        UserError: if no run kept rollouts.
    """
    for run in experiment.runs:
        files = sorted(run.directory.steps.rollouts_path.glob("step_*.parquet"))
        if files:
            return run.name, read_step(run.directory, int(files[-1].stem.removeprefix("step_")))
    raise UserError(f"{experiment.path}: no run kept its rollouts: run with logging.save_rollouts=true")


def moved_policy(batch: TrainBatch, deviation: float, seed: int) -> Tensor:
    """Log-probabilities of a policy that has moved: every token's gets normal noise of ``deviation`` nats."""
    noise_BT = np.random.default_rng(seed).normal(0.0, deviation, tuple(batch.mask_BT.shape))
    return torch.where(batch.mask_BT, batch.old_logp_BT.double() + torch.from_numpy(noise_BT), 0.0)


def gradient_mass(recorded: RecordedStep, cells: Mapping[str, Objective], deviation: float, seed: int) -> pd.DataFrame:
    """Return cell, rollout, length, advantage, mass: each rollout's share of sum_t |dL / dlogp_t|."""
    parts = []
    for cell, objective in cells.items():
        batch = recorded_batch(recorded, objective)
        _, gradient_BT = loss_and_gradient(objective, moved_policy(batch, deviation, seed), batch)
        parts.append(pd.DataFrame(rollout_rows(gradient_BT, batch)).assign(cell=cell))
    return pd.concat(parts, ignore_index=True)


def clip_against_movement(
    recorded: RecordedStep, cells: Mapping[str, Objective], deviations: Sequence[float], seed: int
) -> pd.DataFrame:
    """Return cell, deviation, clipped: share of the tokens in the loss whose clip binds once the policy has moved.

    NaN for an objective without a clip.
    """
    rows = []
    for cell, objective in cells.items():
        batch = recorded_batch(recorded, objective)
        for deviation in deviations:
            metrics = step_metrics(objective, moved_policy(batch, deviation, seed), batch)
            clipped = metrics.get("policy/clip_low", np.nan) + metrics.get("policy/clip_high", np.nan)
            rows.append((cell, deviation, clipped))
    return pd.DataFrame(rows, columns=["cell", "deviation", "clipped"])
