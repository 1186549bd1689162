"""An estimate for each cell of a sweep, and the warnings that follow from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ablate.config import RunConfig
from ablate.errors import UserError
from ablate.estimate.collect import Collected
from ablate.estimate.device import AssumptionsConfig, DeviceConfig
from ablate.estimate.estimator import Estimator
from ablate.estimate.host import Machine
from ablate.estimate.lengths import recorded_lengths
from ablate.estimate.machine import check_start, memory_warnings, num_servers, time_warnings
from ablate.estimate.memory import checkpoint_bytes
from ablate.estimate.schedule import num_evaluations, num_steps
from ablate.estimate.settings import TIME_KEYS, count_of
from ablate.estimate.shape import shape_of

MOST_NAMED = 6  # cells that cost the same, in the head of a column


def estimates_of(
    runs: Sequence[RunConfig],
    device: DeviceConfig,
    assumptions: AssumptionsConfig,
    lengths_of: str | None = None,
    simulated: dict[Any, Collected] | None = None,
) -> dict[str, Estimator]:
    """An estimator for each cell; cells that cost the same share one, under both names.

    ``simulated`` holds batches and evaluations of estimators before, for those that ask for the same.
    """
    recorded = recorded_lengths(Path(lengths_of)) if lengths_of else ()
    names: dict[tuple[object, ...], list[str]] = {}
    configs = {}
    for config in runs:
        if config.model.architecture is None:
            raise UserError(
                f"model={config.model.name} has no shape in conf/model: an estimate needs model.architecture"
            )
        drops_groups = config.objective["keep"] != "all"
        own = [(stage.length, num_steps(config, index)) for index, stage in enumerate(config.context.stages)]
        others = repr(replace(config, cell="", seed=0, objective={}, fork=None, context=None))
        same = (drops_groups, others, repr(own), repr(num_evaluations(config)))
        configs[same] = config
        if config.cell not in names.setdefault(same, []):
            names[same].append(config.cell)
    return {
        listed(cells): Estimator(
            configs[same],
            device,
            assumptions,
            drops_groups=same[0],
            recorded=recorded,
            num_cells=len(cells),
            simulated=simulated,
        )
        for same, cells in names.items()
    }


def listed(cells: Sequence[str]) -> str:
    return ", ".join(cells) if len(cells) <= MOST_NAMED else f"{cells[0]} and {len(cells) - 1} more"


def branches_sentence(runs: Sequence[RunConfig]) -> str | None:
    """What the forks of a sweep cost, counted from their fork points; None for a sweep without forks."""
    forks = [run for run in runs if run.fork.run is not None]
    if not forks:
        return None
    steps = sum(num_steps(run, index) for run in forks for index in range(len(run.context.stages)))
    points = sorted({run.fork.step for run in forks})
    checkpoints = {(run.fork.run, run.fork.step) for run in forks}
    num_bytes = 0.0
    if forks[0].model.architecture is not None:
        num_bytes = checkpoint_bytes(shape_of(forks[0].model.architecture), forks[0].parallel.precision)
    size = f", {len(checkpoints) * num_bytes / 1e9:.2g} GB together" if num_bytes else ""
    return (
        f"{len(forks)} branches make {steps:,} steps after their fork points. Their parents keep {len(checkpoints)} "
        f"checkpoints for them (checkpoint.keep_steps={points}){size}."
    )


def check_starts(
    runs: Sequence[RunConfig],
    device: DeviceConfig,
    assumptions: AssumptionsConfig,
    machine: Machine,
    time_limit_s: float | None,
) -> None:
    """Raise ``UserError`` if a run on GPUs spends its whole time limit before its first update; see ``check_start``.

    Args:
        device: the machine's, or the fastest of conf/device where that is not known.
    """
    runs = [config for config in runs if config.model.architecture is not None and num_servers(config, machine)]
    if time_limit_s is None or not machine.gpus_per_node or not runs:
        return
    assumptions = replace(assumptions, servers=num_servers(runs[0], machine))
    for estimator in estimates_of(runs, device, assumptions).values():
        check_start(estimator.config, estimator.run(), device, time_limit_s)


def warnings_of(
    runs: Sequence[RunConfig], device: DeviceConfig, assumptions: AssumptionsConfig, own: Mapping[str, str]
) -> list[str]:
    """Warnings about what will probably not fit the device or the job's times."""
    times = [count_of(own, key, None) for key in TIME_KEYS]
    sentences = []
    for estimator in estimates_of(runs, device, assumptions).values():
        sentences += memory_warnings(estimator.config, device, estimator.shape)
        if any(time is not None for time in times):
            sentences += time_warnings(estimator.run(), *times)
    return list(dict.fromkeys(sentences))
