"""One page per run: what it did, and every rollout that it saved."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ablate.records.provenance import flatten
from ablate.verify.extract import EXTRACTIONS
from ablate_analysis.load import Experiment, Run, page_of, printed_name
from ablate_analysis.one_factor import what_differs
from ablate_analysis.pages.document import render_page
from ablate_analysis.pages.figure_data import CURVES, MORE_CURVES, plains
from ablate_analysis.pages.payload import pack
from ablate_analysis.pages.rollouts import StepSummary, chosen_steps, saved_steps, write_step
from ablate_analysis.pages.timeline import timelines, whole_run
from ablate_analysis.pages.tokens import write_tokens
from ablate_analysis.render import NOTHING, SAFE, Table, to_html

SCRIPTS = (
    "core.js", "cells.js", "plot.js", "figures.js", "tables.js", "highlight.js", "charts.js", "browser.js", "detail.js",
    "tokens.js", "run.js",
)  # fmt: skip
TRAINED = {"rollout/pass_rate_trained": ("Pass rate of the rollouts that trained", "percent")}
OWN, BASELINE = "own", "baseline"  # the cells of this page


def write_run_page(
    run: Run, experiment: Experiment, folder: Path, limit: int | None, live_s: int | None = None
) -> Path:
    """Write the page of a run and its side files below ``folder``, the report's.

    Args:
        limit: the number of saved steps whose rollouts get side files; None for all.
        live_s: seconds after which the page of an unfinished run loads itself again; None for never.
    """
    page = folder / page_of(run)
    steps = saved_steps(run)
    summaries = write_rollouts(run, page.parent, chosen_steps(steps, limit))
    base = baseline_run(run, experiment)
    differs = what_differs(experiment, run.cell, experiment.baseline) if run.cell != experiment.baseline else []
    compared = [{"cell": BASELINE, "name": f"{printed_name(base)}, the baseline", "look": "grey"}] if base else []
    data = {
        "cells": [{"cell": OWN, "name": "this run", "look": 0}, *compared],
        "curves": curves_of(run, base),
        "timelines": timelines(run.directory.trace),
        "whole": whole_run(run.directory.trace),
        "live_s": None if run.directory.status == "done" else live_s,
        "steps": [vars(summary) for summary in summaries],
        "replay": replay_command(run),
        "label": f"{printed_name(run)}, seed {run.seed}",
    }
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(
        render_page(
            "run.html.jinja",
            SCRIPTS,
            experiment=experiment.name,
            label=printed_name(run),
            name=run.name,
            seed=run.seed,
            state=run.directory.status,
            error=(run.manifest.get("error") or "").strip()[-500:],
            report=quote(os.path.relpath(folder / "report.html", page.parent), safe=SAFE),
            is_baseline=run.cell == experiment.baseline,
            baseline=experiment.names.get(experiment.baseline, experiment.baseline),
            compared=printed_name(base) if base else "",
            differs=differs,
            saved_steps=steps_sentence(len(steps), len(summaries)) if summaries else "",
            no_rollouts="The run saved no rollouts: run with logging.save_rollouts=true.",
            attempts=to_html(attempts_table(run)),
            environment=to_html(environment_table(run.manifest)),
            configuration=to_html(configuration_table(run, base)),
            data=pack(data),
        ),
        encoding="utf-8",
        errors="replace",  # an error message may hold a lone surrogate
    )
    return page


def write_rollouts(run: Run, folder: Path, steps: Sequence[int]) -> list[StepSummary]:
    """Write the side files of the steps in place of earlier ones; a step at a time is in memory."""
    for earlier in ("steps", "tokens"):
        if (folder / earlier).exists():
            shutil.rmtree(folder / earlier)
    tokens = write_tokens(run, folder)
    extract = EXTRACTIONS[run.config.get("verify", {}).get("extraction", "last_block")]
    return [write_step(run, step, folder, extract, tokens.get(step, [])) for step in steps]


def steps_sentence(saved: int, shown: int) -> str:
    if shown == saved:
        return f"All {saved} steps whose rollouts were saved" if saved > 1 else "The one step whose rollouts were saved"
    return f"{shown} of the {saved} steps whose rollouts were saved, evenly spaced (report.rollout_steps)"


def replay_command(run: Run) -> str:
    path = shlex.quote(str(run.directory.path))
    return (
        f"python -m ablate.laboratory rollouts={path}/rollouts checkpoint={path}/checkpoints "
        "'objectives=[grpo,dapo,gspo,gspo_plus]' tokens=true"
    )


def baseline_run(run: Run, experiment: Experiment) -> Run | None:
    """The baseline's run with the same seed, if it is another run."""
    same = (other for other in experiment.every_run if other.cell == experiment.baseline and other.seed == run.seed)
    return next((other for other in same if other.name != run.name), None)


def curves_of(run: Run, base: Run | None) -> list[dict[str, Any]]:
    """The charts that the run's metrics make possible: its own line and the baseline's."""
    own, other = run.directory.steps.metrics(), base.directory.steps.metrics() if base else []
    curves = []
    for name, (title, unit) in {**scores_of(own), **TRAINED, **CURVES, **MORE_CURVES}.items():
        lines = [line_of(own, name, OWN), line_of(other, name, BASELINE)]
        if name in TRAINED and lines[0]["value"] == line_of(own, "rollout/pass_rate", OWN)["value"]:
            continue  # the step trained on everything that was sampled
        if lines[0]["x"]:
            has_bands = "low" in lines[0]
            shown = [line for line in lines if line["x"]]
            curves.append({"title": title, "unit": unit, "has_bands": has_bands, "lines": shown})
    return curves


def scores_of(rows: Sequence[Mapping[str, float]]) -> dict[str, tuple[str, str]]:
    names = {name for row in rows for name in row if name.startswith("eval/pass@1/") and name.count("/") == 2}
    contexts = sorted(int(name.rpartition("/")[2]) for name in names)
    return {f"eval/pass@1/{context}": (f"Pass@1 at {context:,} tokens", "percent") for context in contexts}


def line_of(rows: Sequence[Mapping[str, float]], name: str, cell: str) -> dict[str, Any]:
    known = [row for row in rows if isinstance(row.get(name), int | float)]
    values = plains([row[name] for row in known])
    if not any(value is not None for value in values):
        known, values = [], []
    line = {"cell": cell, "x": [int(row["step"]) for row in known], "value": values}
    if known and f"{name}/low" in known[0]:
        line |= {end: plains([row[f"{name}/{end}"] for row in known]) for end in ("low", "high")}
    return line


def attempts_table(run: Run) -> Table:
    rows = [
        (str(number), *(str(attempt.get(key) or NOTHING) for key in ("start", "stop", "status", "host")),
         str(attempt.get("commit") or NOTHING)[:10] + ("+" if attempt.get("dirty") else ""))
        for number, attempt in enumerate(run.manifest.get("attempts", []), start=1)
    ]  # fmt: skip
    header = ("attempt", "start", "stop", "ended", "host", "commit")
    note = "An attempt without a stop was killed. A commit marked + had uncommitted changes."
    return Table("attempts", "Attempts", header, tuple(rows), note)


def environment_table(manifest: Mapping[str, Any]) -> Table:
    packages = {"python": manifest.get("python", NOTHING), **manifest.get("packages", {})}
    rows = tuple((name, str(version)) for name, version in packages.items())
    return Table("environment", "Environment of the first attempt", ("package", "version"), rows)


def configuration_table(run: Run, base: Run | None) -> Table:
    """Every key, those that differ from the baseline's first; the baseline's value stands next to it."""
    other = dict(flatten(base.config)) if base else {}
    rows = []
    for key, value in flatten(run.config):
        differs = base is not None and key in other and other[key] != value
        rows.append((key, str(value), str(other[key]) if differs else ""))
    header = ("key", "value", "baseline, where it differs")
    return Table("configuration", "config.yaml", header, tuple(sorted(rows, key=lambda row: not row[2])), kind="text")
