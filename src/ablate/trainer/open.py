"""The trainer of a run."""

from __future__ import annotations

from pathlib import Path

from ablate.config import RunConfig
from ablate.trainer.trainer import Trainer


def open_trainer(config: RunConfig, model_dir: Path, total_updates: int | None = None) -> Trainer:
    """Return a trainer whose weights start from ``model_dir``, for every stage of the run.

    Args:
        total_updates: of the learning-rate schedule; None for those of this run.
    """
    return Trainer(
        model_dir,
        config.model,
        config.parallel,
        config.optim,
        context_length=config.context.longest,
        total_updates=total_updates or config.context.num_steps * config.optim.updates_per_batch,
        temperature=config.rollout.temperature,
    )
