"""Weights & Biases as a mirror of metrics.jsonl, which remains the record. The home of wandb."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from ablate.config import LoggingConfig


class Mirror(Protocol):
    def log(self, step: int, metrics: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class NoMirror:
    """The mirror of ``logging.wandb=disabled``."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        return None

    def close(self) -> None:
        return None


class WandbMirror:
    """One W&B run per run; its id comes from the directory, so a resumed run continues its curve."""

    def __init__(self, config: LoggingConfig, run_path: Path, run_config: Mapping[str, Any]) -> None:
        import wandb

        experiment, cell, seed = run_path.parts[-3:]
        # The mode is set for the process too: W&B's own telemetry reads the settings of the process, and not those of a
        # W&B run, to find out whether it may use the network.
        if config.wandb == "offline":
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        wandb.setup(settings=wandb.Settings(mode=config.wandb, silent=True))
        self.run = wandb.init(
            project=config.wandb_project,
            mode=config.wandb,
            dir=str(run_path),
            id=f"{experiment}-{cell}-{seed}",
            name=f"{cell}/{seed}",
            group=experiment,
            config=dict(run_config),
            resume="allow",
            settings=wandb.Settings(silent=True),
        )

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.run.log(dict(metrics), step=step)

    def close(self) -> None:
        self.run.finish()


def open_mirror(config: LoggingConfig, run_path: Path, run_config: Mapping[str, Any]) -> Mirror:
    return NoMirror() if config.wandb == "disabled" else WandbMirror(config, run_path, run_config)
