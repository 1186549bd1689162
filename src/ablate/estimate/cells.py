"""An estimate for each cell of a sweep, and the warnings that follow from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ablate.config import RunConfig
from ablate.errors import UserError
from ablate.estimate.device import AssumptionsConfig, DeviceConfig
from ablate.estimate.estimator import Estimator
from ablate.estimate.lengths import recorded_lengths
from ablate.estimate.machine import memory_warnings, time_warnings
from ablate.estimate.settings import TIME_KEYS, count_of


def estimates_of(
    runs: Sequence[RunConfig], device: DeviceConfig, assumptions: AssumptionsConfig, lengths_of: str | None = None
) -> dict[str, Estimator]:
    """An estimator for each cell; cells that cost the same share one, under both names."""
    recorded = recorded_lengths(Path(lengths_of)) if lengths_of else ()
    names: dict[tuple[bool, str], list[str]] = {}
    configs = {}
    for config in runs:
        if config.model.architecture is None:
            raise UserError(
                f"model={config.model.name} has no shape in conf/model: an estimate needs model.architecture"
            )
        drops_groups = config.objective["keep"] != "all"
        same = (drops_groups, repr(replace(config, cell="", seed=0, objective={})))
        configs[same] = config
        if config.cell not in names.setdefault(same, []):
            names[same].append(config.cell)
    return {
        ", ".join(cells): Estimator(configs[same], device, assumptions, drops_groups=same[0], recorded=recorded)
        for same, cells in names.items()
    }


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
