"""``python -m ablate.plan``: the cells of an experiment, what is done, and the overrides of every array task.

    python -m ablate.plan experiment=tiny                     the grid and the state of every cell
    python -m ablate.plan experiment=tiny out=tasks.txt       one line of overrides per cell that is missing or failed
    python -m ablate.plan experiment=tiny seed=0,1,2 model=…  any override of ablate.train, sweeps included

Every cell is checked as ablate.train would check it: configuration, objective, layout. A file of data or model that is
missing is a warning. Keys of its own: experiment=NAME (needed), status=true (also show why a cell failed), out=FILE.

slurm/submit.sh adds processes=N (the processes that will train a cell), missing_files=error, and queued=JOB: the lines
of out=FILE are now tasks 0, 1, ... of that array.
"""

from __future__ import annotations

import itertools
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ablate.cli import compose, read_words, run_main
from ablate.errors import UserError
from ablate.records import CellState, RunDirectory, run_path

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

    from ablate.config import RunConfig

OWN_KEYS = ("status", "out", "queued", "processes", "missing_files")


@dataclass(frozen=True)
class Cell:
    """One job of the sweep: its overrides, as the sweep's own expansion gives them, directory and configuration."""

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
    """The first choice of every override: enough to read what does not depend on the sweep."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return [choices_of(override)[0] for override in OverridesParser.create().parse_overrides(list(overrides))]


def plan(overrides: Sequence[str], num_processes: int | None = None) -> list[Cell]:
    """Return every cell of the sweep, each checked as ``ablate.train`` on ``num_processes`` would check it.

    Raises:
        UserError: if a cell's configuration breaks a rule, or two cells would share a directory.
    """
    from ablate.check_run import check_run

    cells: dict[Path, Cell] = {}
    for job in expand(overrides):
        try:
            values = compose(job, with_hydra=True)
            config = check_run(values, values.hydra, num_processes)
        except UserError as error:
            raise UserError(f"{error} (cell: {' '.join(job)})") from error
        directory = run_path(config)
        if directory in cells:
            raise UserError(
                f"two cells share {directory}: [{' '.join(cells[directory].overrides)}] and [{' '.join(job)}]: "
                "put every swept key into `cell`"
            )
        cells[directory] = Cell(job, directory, config)
    return list(cells.values())


def missing_files_of(cells: Sequence[Cell]) -> list[str]:
    from ablate.check_run import missing_files

    return list(dict.fromkeys(sentence for cell in cells for sentence in missing_files(cell.config)))


def waiting_tasks() -> frozenset[str]:
    """The array tasks in this user's SLURM queue, each as "JOB_TASK"; none where there is no SLURM."""
    if shutil.which("squeue") is None:
        return frozenset()
    command = ["squeue", "--me", "--noheader", "--array", "--states=PENDING,CONFIGURING,REQUEUED", "--format=%F_%K"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return frozenset(result.stdout.split()) if result.returncode == 0 else frozenset()


def shown(cells: Sequence[Cell], states: Sequence[CellState], with_errors: bool) -> str:
    """The grid as text: one line a cell, then the totals."""
    width = max(len(str(cell.directory)) for cell in cells)
    lines = []
    for cell, state in zip(cells, states, strict=True):
        lines.append(f"{cell.directory!s:{width}}  {state.name:11}  {state.position}".rstrip())
        if with_errors and state.error:
            lines.append(f"{'':{width}}  {state.error.strip().splitlines()[-1]}")
    counts = {name: sum(state.name == name for state in states) for name in dict.fromkeys(s.name for s in states)}
    totals = ", ".join(f"{count} {name}" for name, count in counts.items())
    return "\n".join([*lines, f"{len(cells)} cells: {totals}"])


def main() -> None:
    words = read_words(__doc__, OWN_KEYS, required=("experiment",))
    own = words.own
    processes = own.get("processes")
    if processes is not None and not (processes.isdecimal() and int(processes) > 0):
        raise UserError(f"processes={processes} must be a whole number above 0")
    if own.get("missing_files", "warn") not in ("warn", "error"):
        raise UserError(f"missing_files={own['missing_files']} is not one of warn, error")
    if "queued" in own and "out" not in own:
        raise UserError("queued=JOB needs out=FILE, the list of tasks that was submitted")
    cells = plan(words.overrides, int(processes) if processes else None)
    for sentence in missing_files_of(cells):
        if own.get("missing_files") == "error":
            raise UserError(sentence)
        print(f"warning: {sentence}", file=sys.stderr)
    in_queue = waiting_tasks()
    states = [RunDirectory(cell.directory).state(in_queue) for cell in cells]
    waiting = [cell for cell, state in zip(cells, states, strict=True) if state.needs_a_run]
    if "queued" in own:
        by_line = {shlex.join(cell.overrides): cell for cell in cells}
        for task, line in enumerate(Path(own["out"]).read_text().splitlines()):
            RunDirectory(by_line[line].directory).owner.mark_queued(f"{own['queued']}_{task}")
        return
    print(shown(cells, states, with_errors=own.get("status", "false").lower() == "true"))
    if "out" in own:
        Path(own["out"]).write_text("".join(shlex.join(cell.overrides) + "\n" for cell in waiting))
        print(f"{own['out']}: {len(waiting)} tasks, one line each")


if __name__ == "__main__":
    run_main(main)
