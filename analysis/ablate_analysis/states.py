"""What a sweep has not finished: the state of every run, and sentences for the top of the report."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from ablate_analysis.load import Experiment, page_of
from ablate_analysis.render import NOTHING, Link, Table


def warning(experiment: Experiment, planned: Sequence[str]) -> list[str]:
    """Sentences that open the report of an unfinished sweep; none when every run is finished.

    Args:
        planned: the directories of the sweep's runs relative to the experiment, such as "gspo/seed1"; empty if the
            sweep is not known.
    """
    states = states_of(experiment, planned)
    if all(state == "done" for state in states.values()):
        return []
    counts = ", ".join(f"{count} {state}" for state, count in Counter(states.values()).most_common())
    said = [f"This sweep is not finished: of its {len(states)} runs {counts}."]
    if experiment.runs:
        return [*said, "Scores, differences and p-values are of the finished runs only."]
    return [*said, "There is no score before a run is finished."]


def states_of(experiment: Experiment, planned: Sequence[str]) -> dict[str, str]:
    """Run -> its state; a planned run without a directory is missing."""
    found = {run.name: run.directory.state().name for run in experiment.every_run}
    states = {**dict.fromkeys(planned, "missing"), **found}
    return dict(sorted(states.items(), key=lambda item: in_order(item[0])))


def in_order(name: str) -> list[int | str]:
    """The key that puts seed2 before seed10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def states_table(experiment: Experiment, planned: Sequence[str]) -> Table:
    """Every run of the sweep with its state, its newest step and what ended it."""
    runs = {run.name: run for run in experiment.every_run}
    rows = []
    for name, state in states_of(experiment, planned).items():
        if name not in runs:
            rows.append((name, state, NOTHING, ""))
            continue
        directory = runs[name].directory
        metrics = directory.steps.metrics()
        steps = f"{int(metrics[-1]['step'])} of {num_steps(runs[name].config)}" if metrics else NOTHING
        error = (directory.state().error or "").strip().splitlines()
        rows.append((Link(name, page_of(runs[name])), state, steps, error[-1][:200] if error else ""))
    return Table("states", "Every run of the sweep", ("run", "state", "steps", "error"), tuple(rows))


def num_steps(config: dict) -> int:
    return sum(stage["steps"] for stage in config["context"]["stages"])
