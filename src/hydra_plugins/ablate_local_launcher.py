"""``hydra/launcher=local``: Hydra hands the runs of a sweep to a pool of worker processes on this machine.

Hydra takes launchers from the package ``hydra_plugins`` only. Its joblib launcher was tried first: the workers of that
one go on after their parent was killed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus, configure_log
from hydra.plugins.launcher import Launcher

from ablate.errors import UserError
from ablate.launch.display import open_sweep_display
from ablate.launch.pool import WorkerPool
from ablate.launch.worker import Ended


class LocalLauncher(Launcher):
    """One worker per GPU, or per core where there is no GPU: a run has one thread for its trainer and its engine.

    Args:
        workers: processes at once; None for as many as there are GPUs, or cores.
        until_decided: make only the runs that the declared design needs, look by look.
        task: what a worker calls; see ``WorkerPool``.
    """

    def __init__(self, workers: int | None, until_decided: bool, task: str) -> None:
        self.num_workers, self.until_decided, self.task = workers, until_decided, task
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

        def make(some: list[list[str]]) -> list[Ended]:
            display = open_sweep_display(self.config.logging.display, len(some), min(num_workers, len(some)))
            return WorkerPool(some, self.task, num_workers, devices, display).make_all()

        ended = make_until_decided(runs, make) if self.until_decided else make(runs)
        return [
            JobReturn(
                overrides=overrides,
                status=JobStatus.FAILED if each.error else JobStatus.COMPLETED,
                _return_value=each.error or each.status,
            )
            for overrides, each in zip(job_overrides, ended, strict=True)
        ]


def make_until_decided(runs: list[list[str]], make: Callable[[list[list[str]]], list[Ended]]) -> list[Ended]:
    """Make the runs that the design needs, look by look, until it has decided or a run has failed."""
    from ablate.sweep import planned_runs
    from ablate_analysis.next_runs import shown, what_next

    planned = planned_runs([word for word in sys.argv[1:] if not word.startswith("-")])
    place = {run.directory: index for index, run in enumerate(planned)}
    ended: dict[int, Ended] = {}
    while not any(each.error for each in ended.values()):
        found = what_next(planned)
        print(*shown(found.looks)[-1:], found.sentence, sep="\n", flush=True)
        indices = [place[run.directory] for run in found.runs]
        if not indices or set(indices) <= ended.keys():
            break
        ended |= dict(zip(indices, make([runs[index] for index in indices]), strict=True))
    return [ended.get(index, Ended(status="not needed")) for index in range(len(runs))]


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, by the names that CUDA_VISIBLE_DEVICES takes; found without loading torch."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name.strip()]
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
    return [str(index) for index in range(sum(line.startswith("GPU ") for line in listed.splitlines()))]
