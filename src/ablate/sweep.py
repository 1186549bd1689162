"""A sweep: the runs that its overrides stand for, each checked before the first of them starts."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ablate.cli import compose
from ablate.errors import UserError
from ablate.records import run_path

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

    from ablate.config import RunConfig
    from ablate.estimate.host import Machine


@dataclass(frozen=True)
class PlannedRun:
    """One job of the sweep: its overrides as the sweep expands them, its directory and its configuration."""

    overrides: tuple[str, ...]
    directory: Path
    config: RunConfig


def expand(overrides: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the overrides of every job, in the order in which ``-m`` runs them.

    The experiment's ``hydra.sweeper.params`` come first and the command line replaces them key by key, as Hydra's
    basic sweeper does; ranges, globs and choices are Hydra's own grammar.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    swept = compose(overrides_of_one(overrides), with_hydra=True).hydra.sweeper.get("params") or {}
    parser = OverridesParser.create()
    given = parser.parse_overrides([*(f"{key}={value}" for key, value in swept.items()), *overrides])
    by_key: dict[str, Override] = {override.get_key_element(): override for override in given}
    return list(itertools.product(*(choices_of(override) for override in by_key.values())))


def choices_of(override: Override) -> list[str]:
    key = override.get_key_element()
    if override.is_sweep_override():
        return [f"{key}={value}" for value in override.sweep_string_iterator()]
    return [f"{key}={override.get_value_element_as_str()}"]


def overrides_of_one(overrides: Sequence[str]) -> list[str]:
    """The first choice of every override, which is enough to read the keys that are not swept."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return [choices_of(override)[0] for override in OverridesParser.create().parse_overrides(list(overrides))]


def planned_runs(
    overrides: Sequence[str],
    num_processes: int | None = None,
    trains_here: bool = False,
    machine: Machine | None = None,
) -> list[PlannedRun]:
    """Return every run of the sweep, each checked by ``check_run``, which explains the other arguments.

    Raises:
        UserError: if the configuration of a run breaks a rule, or two runs would share a directory.
    """
    from ablate.check_run import check_run

    runs: dict[Path, PlannedRun] = {}
    for job in expand(overrides):
        try:
            values = compose(job, with_hydra=True)
            config = check_run(values, values.hydra, num_processes, trains_here, machine)
        except UserError as error:
            raise UserError(f"{error} (run: {' '.join(job)})") from error
        directory = run_path(config)
        if directory in runs:
            raise UserError(
                f"two runs share {directory}: [{' '.join(runs[directory].overrides)}] and [{' '.join(job)}]: "
                "put every swept key into `cell`"
            )
        runs[directory] = PlannedRun(job, directory, config)
    return list(runs.values())


def run_names(overrides: Sequence[str]) -> list[str]:
    """The directory of every run of the sweep, relative to its experiment: "gspo/seed1". Checks no configuration."""
    composed = (compose(job) for job in expand(overrides))
    return [f"{values.cell}/seed{values.seed}" for values in composed]
