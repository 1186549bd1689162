"""outputs/** -> tidy frames. A row holds one number and names the run that it came from.

``metrics``: run, cell, objective, seed, <swept keys>, step, name, value
``scores``:  run, cell, objective, seed, <swept keys>, then the fields of ``ablate.types.EvalRow``

``run`` is the run's directory relative to the experiment: ``gspo_plus/seed1``. Step 0 is the warm start.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from ablate.errors import UserError
from ablate.records import RunDirectory
from ablate.records.provenance import flatten, is_execution_key
from ablate.records.timeline import Interval, length, union

# Keys that name a run. Like the keys of how it is executed (provenance.EXECUTION_KEYS) they may differ between runs.
NAMES_OF_A_RUN = ("seed", "cell", "experiment", "objective.name", "objective.label")
NEEDED = (*NAMES_OF_A_RUN, "comparison.factors", "comparison.baseline")


@dataclass(frozen=True)
class Run:
    """A run: its directory, its resolved configuration and its manifest."""

    name: str  # the directory, relative to the experiment
    directory: RunDirectory
    config: Mapping[str, Any]
    manifest: Mapping[str, Any]
    own_cell: str | None = None  # where runs of several experiments have cells of one name

    @property
    def cell(self) -> str:
        return self.own_cell or self.config["cell"]

    @property
    def seed(self) -> int:
        return self.config["seed"]

    @property
    def objective(self) -> str:
        return self.config["objective"]["name"]

    @property
    def commit(self) -> str:
        """The commit of the last attempt, shortened, with a ``+`` if the tree had uncommitted changes."""
        last = {**self.manifest, **(self.manifest.get("attempts") or [{}])[-1]}
        commit = (last.get("commit") or "unknown")[:10]
        return commit + ("+" if last.get("dirty") else "")

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The configuration as ``{dotted key: leaf}``, without what names or executes the run."""
        return {key: leaf for key, leaf in flatten(self.config) if may_be_a_factor(key)}


@dataclass(frozen=True)
class Experiment:
    """The finished runs of an experiment, on which every number rests, and the unfinished ones."""

    name: str
    path: Path
    runs: tuple[Run, ...]
    unfinished: tuple[Run, ...]
    metrics: pd.DataFrame
    scores: pd.DataFrame
    own_baseline: str | None = None  # in place of the recorded one

    @property
    def every_cell(self) -> list[str]:
        """The cells of every run, finished or not, by name."""
        return sorted({run.cell for run in self.every_run})

    @property
    def every_run(self) -> tuple[Run, ...]:
        return (*self.runs, *self.unfinished)

    @property
    def skipped(self) -> tuple[str, ...]:
        """Why each unfinished run was left out."""
        return tuple(f"{run.name} is {run.directory.status}" for run in self.unfinished)

    @property
    def cells(self) -> list[str]:
        """The baseline first, the other cells by name."""
        return sorted({run.cell for run in self.runs}, key=lambda cell: (cell != self.baseline, cell))

    @property
    def names(self) -> dict[str, str]:
        """Cell -> its printed name, in the order of ``cells``."""
        return {cell: printed_name(self.runs_of(cell)[0]) for cell in self.cells}

    @property
    def factors(self) -> list[str]:
        return list(self.every_run[0].config["comparison"]["factors"])

    @property
    def baseline(self) -> str:
        return self.own_baseline or self.every_run[0].config["comparison"]["baseline"]

    @property
    def min_seeds(self) -> int:
        return self.runs[0].config["comparison"]["min_seeds"]

    def runs_of(self, cell: str) -> list[Run]:
        return [run for run in self.runs if run.cell == cell]


def may_be_a_factor(key: str) -> bool:
    return not is_execution_key(key) and key not in NAMES_OF_A_RUN


def is_under(key: str, prefixes: Sequence[str]) -> bool:
    return any(key == prefix or key.startswith(prefix + ".") for prefix in prefixes)


def printed_name(run: Run) -> str:
    """The name of a run's cell for readers, with the objective's label: "GSPO+, updates=2"."""
    name, label = run.config["objective"]["name"], run.config["objective"]["label"]
    parts = re.split(r"-(?=[a-z])", run.cell)  # not the minus of 1e-05
    return ", ".join(label if part == name else part.replace("_", " ") for part in parts)


def page_of(run: Run) -> str:
    """The page of a run, relative to the report."""
    return f"runs/{run.name}/index.html"


def load_experiment(path: Path, needs_finished: bool = True) -> Experiment:
    """Read every run under ``outputs/<experiment>``.

    Raises:
        UserError: if there is no run, or no finished run and ``needs_finished``.
    """
    directories = sorted(file.parent for file in path.rglob("config.yaml") if file.parent.name.startswith("seed"))
    if not directories:
        raise UserError(
            f"{path} holds no run (no seed*/config.yaml): run python -m ablate.train -m experiment={path.name} first"
        )
    experiment = experiment_of(path.name, path, [read_run(path, directory) for directory in directories])
    if not experiment.runs and needs_finished:
        raise UserError(
            f"{path}: no run is finished ({'; '.join(experiment.skipped)}): run the experiment again, which continues "
            "its runs"
        )
    return experiment


def experiment_of(name: str, path: Path, found: Sequence[Run]) -> Experiment:
    runs = tuple(run for run in found if run.directory.status == "done")
    unfinished = tuple(run for run in found if run.directory.status != "done")
    keys = swept_keys(runs)
    return Experiment(name, path, runs, unfinished, tidy_metrics(runs, keys), tidy_scores(runs, keys))


def load_runs(paths: Sequence[Path], name: str) -> Experiment:
    """Read any runs: each path is a run, or holds runs somewhere below it.

    Cells of one name from several directories get their directory's name.

    Raises:
        UserError: for a path without a run.
    """
    directories: dict[Path, None] = {}
    for path in paths:
        below = sorted(file.parent for file in path.rglob("config.yaml") if (file.parent / "manifest.json").exists())
        if not below:
            raise UserError(f"runs={path} holds no run: name a run, or a directory of runs such as outputs/scratch")
        directories |= dict.fromkeys(directory.resolve() for directory in below)
    root = Path(os.path.commonpath([directory.parent for directory in directories]))
    found = [read_run(root, directory) for directory in directories]
    places: dict[str, set[Path]] = {}
    for run in found:
        places.setdefault(run.cell, set()).add(run.directory.path.parent)

    def named(run: Run) -> Run:
        where = run.directory.path.parent.relative_to(root).as_posix().replace("/", "-")
        return replace(run, own_cell=where) if len(places[run.cell]) > 1 else run

    return experiment_of(name, root, [named(run) for run in found])


def read_run(root: Path, path: Path) -> Run:
    directory = RunDirectory(path)
    config = directory.config()
    flat = dict(flatten(config))
    missing = [key for key in NEEDED if key not in flat]
    if missing:
        raise UserError(
            f"{directory.config_path} was written by another version: it has no {', '.join(missing)}: move that run "
            "away, or report on it with the commit that its manifest.json names"
        )
    return Run(path.relative_to(root).as_posix(), directory, config, directory.manifest.read())


def swept_keys(runs: Sequence[Run]) -> list[str]:
    """Keys in which the runs differ, apart from the seed and from where and how they were executed."""
    keys = sorted({key for run in runs for key in run.settings})
    return [key for key in keys if len({repr(run.settings.get(key)) for run in runs}) > 1]


def identity(run: Run, keys: Sequence[str]) -> dict[str, Any]:
    values = {key: run.settings.get(key) for key in keys}
    settings = {key: str(value) if isinstance(value, list) else value for key, value in values.items()}
    return {"run": run.name, "cell": run.cell, "objective": run.objective, "seed": run.seed, **settings}


def tidy_metrics(runs: Sequence[Run], keys: Sequence[str]) -> pd.DataFrame:
    parts = []
    for run in runs:
        wide = pd.DataFrame(run.directory.steps.metrics())
        if wide.empty:
            continue
        long = wide.melt(id_vars="step", var_name="name", value_name="value").dropna(subset="value")
        parts.append(long.assign(**identity(run, keys)))
    columns = ["run", "cell", "objective", "seed", *keys, "step", "name", "value"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def tidy_scores(runs: Sequence[Run], keys: Sequence[str]) -> pd.DataFrame:
    parts = []
    for run in runs:
        rows = pd.DataFrame([vars(row) for row in run.directory.steps.eval_rows()])
        parts.append(rows.assign(**identity(run, keys)))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def wide_metrics(metrics: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return one row per run and step with a column for each of ``names`` (NaN where a run did not log it)."""
    chosen = metrics[metrics["name"].isin(names)]
    wide = chosen.pivot_table(index=["run", "cell", "seed", "step"], columns="name", values="value")
    return wide.reindex(columns=list(names)).reset_index()


def seconds_by_step(run: Run) -> pd.DataFrame:
    """Return step, seconds: the wall time of each step with its evaluation, where overlapping spans count once.

    Only the trainer's row counts: engines may sample the batch of one step during another.
    """
    by_step: dict[int, list[Interval]] = {}
    for span in run.directory.trace.spans():
        if span["tid"] == 0:
            by_step.setdefault(int(span["args"]["step"]), []).append((span["ts"], span["ts"] + span["dur"]))
    seconds = {step: length(union(intervals)) / 1e6 for step, intervals in sorted(by_step.items())}
    return pd.DataFrame({"step": list(seconds), "seconds": list(seconds.values())})
