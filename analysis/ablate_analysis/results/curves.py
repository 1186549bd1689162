"""Learning curves of anyone's runs: one score over one named axis, a list of points for each run."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ablate.errors import UserError
from ablate_analysis.results.files import json_lines
from ablate_analysis.results.samples import choose, number_of

STEPS = ("step", "_step", "Step", "global_step", "train/global_step")
OUR_AXES = ("steps", "tokens", "hours")
EVALUATION = "evaluate"  # spans of evaluations are no part of training's device hours


@dataclass(frozen=True)
class Curve:
    """One run's points in the order of the axis; where a resumed run repeats a step, its last attempt counts.

    Example:
        ``Curve(run="gspo/seed0", axis="steps", compute=(0.0, 10.0), score=(0.41, 0.52))``.
    """

    run: str
    axis: str
    compute: tuple[float, ...]
    score: tuple[float, ...]


def read_curves(path: Path, metric: str | None, axis: str) -> list[Curve]:
    """Read every run in a file or directory.

    Args:
        metric: the score; None where there is only one.
        axis: ``steps``; for runs of ours also ``tokens`` and ``hours`` (device hours); else a column of the file.

    Raises:
        UserError: for an unknown format, and for a metric or an axis that is not there, naming those that are.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist: name a run, a CSV, a file of JSON lines or a TensorBoard directory")
    if path.is_dir():
        runs = sorted({file.parent for file in path.rglob("metrics.jsonl")})
        if runs:
            return [our_run(run, run.relative_to(path).as_posix() or run.name, metric, axis) for run in runs]
        if any(path.rglob("events.out.tfevents.*")):
            return tensorboard_runs(path, metric, axis)
        raise UserError(f"{path} holds no metrics.jsonl and no events.out.tfevents.*: name a run or its curves")
    if path.name == "metrics.jsonl" and (path.parent / "config.yaml").is_file():
        return [our_run(path.parent, path.parent.name, metric, axis)]
    if path.suffix == ".csv":
        return csv_curves(path, metric, axis)
    if path.suffix == ".parquet":
        from ablate.files.parquet import column_names, iterate_parquet

        rows: Iterable[Mapping[str, Any]] = iterate_parquet(path, column_names(path), 4096)
        return [curve_of(path.stem, list(rows), metric, axis, path)]
    return [curve_of(path.stem, [flat(row) for _, row in json_lines(path)], metric, axis, path)]


def flat(row: dict[str, Any]) -> dict[str, Any]:
    """A line of verl's file logger holds its step, and its metrics one level down: {"step": 1, "data": {...}}."""
    return {"step": row.get("step"), **row["data"]} if isinstance(row.get("data"), dict) else row


def curve_of(run: str, rows: list[Mapping[str, Any]], metric: str | None, axis: str, where: Path) -> Curve:
    """A curve from rows with one column for the axis and one for the score; rows without the score are left out."""
    names = sorted({name for row in rows for name in row})
    column = next((name for name in STEPS if name in names), None) if axis == "steps" else axis
    if column not in names:
        raise UserError(f"{where} has no axis {axis}: choose axis= one of {', '.join(names[:20])}")
    scores = [name for name in names if name not in (*STEPS, column) and not name.startswith("_")]
    chosen = choose(metric, scores, "curves", where)
    points = [
        (number_of(row.get(column), f"{where}: {column}"), number_of(row.get(chosen), f"{where}: {chosen}"))
        for row in rows
    ]
    return sorted_curve(run, axis, points, where)


def sorted_curve(run: str, axis: str, points: Iterable[tuple[float | None, float | None]], where: Path) -> Curve:
    last = {x: y for x, y in points if x is not None and y is not None and math.isfinite(y)}
    if not last:
        raise UserError(f"{where} has no point of this score: choose another with curves=")
    xs = sorted(last)
    return Curve(run, axis, tuple(xs), tuple(last[x] for x in xs))


# --- our own runs -----------------------------------------------------------------------------------------------------


def our_run(path: Path, name: str, metric: str | None, axis: str) -> Curve:
    rows = [row for _, row in json_lines(path / "metrics.jsonl")]
    if not (path / "config.yaml").is_file():  # another trainer's file of that name
        return curve_of(name, [flat(row) for row in rows], metric, axis, path / "metrics.jsonl")
    if axis not in OUR_AXES:
        raise UserError(f"{path} has no axis {axis}: choose axis= one of {', '.join(OUR_AXES)}")
    evaluated = sorted({key for row in rows for key in row if key.startswith("eval/pass@1/") and key.count("/") == 2})
    chosen = metric if any(metric in row for row in rows) else choose(metric, evaluated, "curves", path)
    at = {"steps": lambda: {row["step"]: float(row["step"]) for row in rows},
          "tokens": lambda: tokens_by_step(path, rows), "hours": lambda: hours_by_step(path)}[axis]()  # fmt: skip
    points = [(at.get(row["step"]), number_of(row.get(chosen), str(path))) for row in rows]
    return sorted_curve(name, axis, points, path)


def tokens_by_step(path: Path, rows: list[dict[str, Any]]) -> dict[int, float]:
    """Sampled response tokens up to each step."""
    samples = samples_per_prompt(path)
    total, found = 0.0, {}
    for row in sorted(rows, key=lambda row: row["step"]):
        total += row.get("rollout/length_mean", 0.0) * row.get("rollout/num_groups", 0.0) * samples
        found[row["step"]] = total
    return found


@cache  # a report asks at every context
def samples_per_prompt(path: Path) -> int:
    from ablate.files import read_yaml

    return read_yaml(path / "config.yaml")["rollout"]["samples_per_prompt"]


def hours_by_step(path: Path) -> dict[int, float]:
    """Device hours up to each step: seconds of the trainer's row without evaluations, times the devices of the run."""
    from ablate.records import RunDirectory
    from ablate.records.timeline import length, union

    run = RunDirectory(path)
    spans: dict[int, list[tuple[float, float]]] = {}
    for span in run.trace.spans():
        if span["tid"] == 0 and not span["name"].startswith(EVALUATION):
            spans.setdefault(int(span["args"]["step"]), []).append((span["ts"], span["ts"] + span["dur"]))
    attempts = run.manifest.read().get("attempts") or [{}]
    devices = max(1, len(attempts[-1].get("devices") or ()))  # of the leader's node
    total, found = 0.0, {0: 0.0}
    for step in sorted(spans):
        total += length(union(spans[step])) / 1e6 / 3600 * devices
        found[step] = total
    return found


# --- exports of other programs ----------------------------------------------------------------------------------------


def csv_curves(path: Path, metric: str | None, axis: str) -> list[Curve]:
    """A CSV with one row a step, or a chart exported from W&B with columns ``<run> - <metric>``.

    W&B's ``__MIN`` and ``__MAX`` columns are the spread of a grouped chart, and no points.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise UserError(f"{path} has no row: export it again")
    names = list(rows[0])
    runs = [name for name in names if " - " in name and not name.endswith(("__MIN", "__MAX"))]
    if not runs:
        return [curve_of(path.stem, [{k: number_text(v) for k, v in row.items()} for row in rows], metric, axis, path)]
    first = names[0]
    if axis == "steps" and first not in STEPS:
        raise UserError(f"the axis of {path} is {first} and not steps: add axis='{first}'")
    if metric is not None:
        runs = [name for name in runs if name.split(" - ", 1)[1] == metric]
    if not runs or len({name.split(" - ", 1)[1] for name in runs}) > 1:
        there = sorted({name.split(" - ", 1)[1] for name in names if " - " in name and "__" not in name})
        choose(metric, there, "curves", path)
    return [
        sorted_curve(
            name.split(" - ", 1)[0], axis, ((number_text(row[first]), number_text(row[name])) for row in rows), path
        )
        for name in runs
    ]


def number_text(text: str | None) -> float | None:
    try:
        return float(text) if text not in (None, "") else None
    except ValueError:
        return None


def tensorboard_runs(path: Path, metric: str | None, axis: str) -> list[Curve]:
    """One run for each directory with event files; after restarts several files make one run."""
    from ablate_analysis.results.tensorboard import scalars

    if axis != "steps":
        raise UserError(f"{path} holds TensorBoard events, whose axis is steps: leave axis= out")
    found = []
    for directory in sorted({file.parent for file in path.rglob("events.out.tfevents.*")}):
        by_tag: dict[str, list[tuple[float, float]]] = {}
        for file in sorted(directory.glob("events.out.tfevents.*")):
            for step, tag, value in scalars(file):
                by_tag.setdefault(tag, []).append((float(step), value))
        chosen = choose(metric, sorted(by_tag), "curves", directory)
        found.append(sorted_curve(directory.relative_to(path).as_posix() or path.name, axis, by_tag[chosen], directory))
    return found
