"""Train one run and read from its trace what its steps cost."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ablate.records.trace import TRAINER
from ablate_analysis.load import read_run
from ablate_analysis.overlap import hidden
from ablate_analysis.timeline import StepSeconds, mean, measured_steps, read_spans

SAMPLE_EVERY_S = 0.02
WARM_UP_STEPS = 2


@dataclass(frozen=True)
class Schedule:
    """How the stages of a step may overlap.

    Example: ``Schedule("lag 1", words=("rollout.lag=1",), options=())``
    """

    name: str
    words: tuple[str, ...] = ()  # of ablate.train
    options: tuple[str, ...] = ()  # of one_run


BASES = ("one after the other", "lag 0")  # that the other schedules are compared with
SCHEDULES = (
    Schedule("one after the other", options=("--withhold",)),
    Schedule("lag 0"),
    Schedule("lag 1", words=("rollout.lag=1",)),
)


@dataclass(frozen=True)
class Measured:
    """Means over the steps of a run after the first two."""

    step_s: float  # from the end of one step's updates to the end of the next step's
    cpu_s: float  # of the whole machine during a step
    stages: StepSeconds


class MachineClock:
    """Processor seconds of the whole machine, noted again and again by a thread: nothing else may run on it."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.busy_s: list[float] = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> MachineClock:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over.wait(SAMPLE_EVERY_S):
            user, nice, system, _idle, _waiting, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
            self.times.append(time.time())
            self.busy_s.append((user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK"))

    def between(self, start: float, stop: float) -> float:
        before, after = np.interp([start, stop], self.times, self.busy_s)
        return float(after - before)


def measure(schedule: Schedule, words: Sequence[str], options: Sequence[str], outputs: Path) -> Measured:
    """Train with this schedule under ``outputs``."""
    cell = schedule.name.replace(" ", "_")
    own = [*options, *schedule.options, *words, *schedule.words, f"cell={cell}", f"paths.outputs={outputs}"]
    with MachineClock() as clock, (outputs / f"{cell}.log").open("w") as log:
        command = [sys.executable, "-m", "benchmarks.overlap.one_run", *own]
        if subprocess.run(command, stdout=log, stderr=log).returncode:
            raise RuntimeError(f"the run failed: see {log.name}")
    (config,) = outputs.glob(f"*/{cell}/seed0/config.yaml")
    run = read_run(outputs, config.parent)
    spans = read_spans(run)
    ends = {span.step: span.stop for span in spans if (span.row, span.name) == (TRAINER, "update")}
    steps = sorted(ends)[WARM_UP_STEPS - 1 :]
    start, stop, count = ends[steps[0]], ends[steps[-1]], len(steps) - 1
    stages = mean(measured_steps(spans)[WARM_UP_STEPS - 1 :])
    return Measured((stop - start) / count, clock.between(start, stop) / count, stages)


def table(rows: dict[str, Measured], num_cores: int) -> str:
    """One line per schedule."""
    header = (
        *("schedule", "step s", *(f"against {base}" for base in BASES), "sampling s", "hidden"),
        *("verification s", "hidden", "training s", "longest stage s", "CPU s / cores"),
    )
    lines = [f"| {' | '.join(header)} |", "|---|" + "---:|" * (len(header) - 1)]
    for name, row in rows.items():
        stages = row.stages
        cells = [
            f"{row.step_s:.3f}",
            *(f"{rows[other].step_s / row.step_s:.2f} x" if other in rows else "–" for other in BASES),
            f"{stages.sampling:.3f}",
            f"{hidden(stages.sampling_exposed, stages.sampling):.0%}",
            f"{stages.verification:.3f}",
            f"{hidden(stages.verification_exposed, stages.verification):.0%}",
            f"{stages.training:.3f}",
            f"{longest_stage(stages):.3f}",
            f"{row.cpu_s / num_cores:.3f}",
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def longest_stage(stages: StepSeconds) -> float:
    return max(stages.sampling, stages.verification, stages.training)
