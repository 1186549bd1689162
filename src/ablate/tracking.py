"""Weights & Biases as a mirror of metrics.jsonl, which remains the record. The home of wandb."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.config import LoggingConfig
from ablate.errors import UserError

if TYPE_CHECKING:
    from ablate.types import RolloutGroup

INIT_TIMEOUT_S = 30  # a run does not wait longer for W&B's answer before it starts


class Mirror:
    """Keeps nothing: the mirror of ``logging.wandb=disabled``."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None: ...

    def log_completions(self, step: int, groups: Sequence[RolloutGroup], count: int) -> None: ...

    def close(self) -> None: ...


class WandbMirror(Mirror):
    """One W&B run per run; its id comes from the directory, so a resumed run continues its curve.

    Raises:
        UserError: if W&B refuses, for example because there is no key or no network.
    """

    def __init__(self, config: LoggingConfig, run_path: Path, run_config: Mapping[str, Any]) -> None:
        import wandb

        experiment, cell, seed = run_path.parts[-3:]
        # The mode is set for the process too: W&B's own telemetry reads the settings of the process, and not those of a
        # W&B run, to find out whether it may use the network.
        if config.wandb == "offline":
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        wandb.setup(settings=wandb.Settings(mode=config.wandb, silent=True))
        try:
            self.run = wandb.init(
                project=config.wandb_project,
                mode=config.wandb,
                dir=str(run_path),
                id=f"{experiment}-{cell}-{seed}",
                name=f"{cell}/{seed}",
                group=experiment,
                notes=f"The run's directory: {run_path.resolve()}. Its page: report/runs/{cell}/{seed}/index.html.",
                config=dict(run_config),
                resume="allow",
                settings=wandb.Settings(silent=True, init_timeout=INIT_TIMEOUT_S),
            )
        except wandb.Error as error:
            reason = " ".join(str(error).split())[:300]
            raise UserError(
                f"logging.wandb={config.wandb}: W&B refuses ({reason}): run wandb login, or set logging.wandb=offline"
            ) from error

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.run.log(dict(metrics), step=step)

    def log_completions(self, step: int, groups: Sequence[RolloutGroup], count: int) -> None:
        """A table of the first ``count`` responses of a step."""
        import wandb

        rows = [
            [group.problem.id, completion.sample, str(verdict.kind), reward, completion.text]
            for group in groups
            for completion, verdict, reward in zip(group.completions, group.verdicts, group.rewards, strict=True)
        ]
        table = wandb.Table(columns=["problem", "sample", "verdict", "reward", "response"], data=rows[:count])
        self.run.log({"completions": table}, step=step, commit=False)

    def close(self) -> None:
        self.run.finish()


def open_mirror(config: LoggingConfig, run_path: Path, run_config: Mapping[str, Any]) -> Mirror:
    return Mirror() if config.wandb == "disabled" else WandbMirror(config, run_path, run_config)
