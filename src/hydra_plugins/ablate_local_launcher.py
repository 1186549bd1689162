"""``hydra/launcher=local``: Hydra hands the runs of a sweep to a pool of worker processes on this machine.

Hydra takes launchers from the package ``hydra_plugins`` only. Its joblib launcher was tried first: the workers of that
one go on after their parent was killed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus, configure_log
from hydra.plugins.launcher import Launcher

from ablate.errors import UserError
from ablate.launch.display import open_sweep_display
from ablate.launch.pool import WorkerPool


class LocalLauncher(Launcher):
    """One worker per GPU, or per core where there is no GPU: a run has one thread for its trainer and its engine.

    Args:
        workers: processes at once; None for as many as there are GPUs, or cores.
        task: what a worker calls; see ``WorkerPool``.
    """

    def __init__(self, workers: int | None, task: str) -> None:
        self.num_workers, self.task = workers, task
        self.config: Any = None

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise UserError(
                "hydra/launcher=local makes runs of one process each, and torchrun has started several: leave out one"
            )
        devices = visible_gpus()
        num_workers = self.num_workers or len(devices) or len(os.sched_getaffinity(0))
        if num_workers < 1 or (devices and num_workers > len(devices)):
            limit = f"1 to {len(devices)}, one for each GPU" if devices else "1 or more"
            raise UserError(f"hydra.launcher.workers={num_workers} must be {limit}")
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        Path(self.config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
        always = list(self.config.hydra.overrides.hydra)
        runs = [[*always, *overrides] for overrides in job_overrides]
        display = open_sweep_display(self.config.logging.display, len(runs), min(num_workers, len(runs)))
        ended = WorkerPool(runs, self.task, num_workers, devices, display).make_all()
        return [
            JobReturn(
                overrides=overrides,
                status=JobStatus.FAILED if each.error else JobStatus.COMPLETED,
                _return_value=each.error or each.status,
            )
            for overrides, each in zip(job_overrides, ended, strict=True)
        ]


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, by the names that CUDA_VISIBLE_DEVICES takes; found without loading torch."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name.strip()]
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
    return [str(index) for index in range(sum(line.startswith("GPU ") for line in listed.splitlines()))]
