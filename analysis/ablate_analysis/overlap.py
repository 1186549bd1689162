"""What of verification and generation is hidden, and who works: the tables of a report."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ablate_analysis.load import Experiment, Run
from ablate_analysis.render import NOTHING, Table
from ablate_analysis.timeline import (
    StepSeconds,
    has_rows,
    mean,
    measured_steps,
    read_spans,
    speed_up_bound,
    trained_steps,
)

LAG = "rollout.lag"


def overlap_tables(experiment: Experiment) -> list[Table]:
    """How much is hidden, and who works when, for each cell whose runs have a timeline with rows."""
    steps = {cell: steps_of(experiment.runs_of(cell)) for cell in experiment.cells}
    shown = {cell: of_cell for cell, of_cell in steps.items() if of_cell}
    return [hidden_table(experiment, shown), busy_table(experiment, shown)] if shown else []


def steps_of(runs: Sequence[Run]) -> list[list[StepSeconds]]:
    """The measured steps of each run that has rows."""
    spans = [read_spans(run) for run in runs]
    return [measured_steps(of_run) for of_run in spans if has_rows(of_run) and trained_steps(of_run)]


def hidden_table(experiment: Experiment, steps: dict[str, list[list[StepSeconds]]]) -> Table:
    header = (
        "", "step", "generation", "of it exposed", "hidden", "verification", "of it exposed", "hidden", "training",
        "speed-up", "bound",
    )  # fmt: skip
    rows = []
    for cell, runs in steps.items():
        each = mean([step for run in runs for step in run])
        rows.append(
            (
                experiment.names[cell],
                seconds(each.wall),
                seconds(each.sampling),
                seconds(each.sampling_exposed),
                share(hidden(each.sampling_exposed, each.sampling)),
                seconds(each.verification),
                seconds(each.verification_exposed),
                share(hidden(each.verification_exposed, each.verification)),
                seconds(each.training),
                factor(speed_up(experiment, steps, cell)),
                factor(mean_bound(runs)),
            )
        )
    note = (
        "Mean over steps and seeds, without the first step, evaluations and checkpoints. Exposed: the trainer waited "
        "meanwhile; verification is exposed only while, in addition, no engine sampled. Training: the step without "
        "waiting. Speed-up: over the cell that differs in rollout.lag=0 alone. Bound: sum(G + T) / sum(max(G, T)) over "
        "the cell's own steps, where G is the time from a batch's first request to its last verdict, and T is the "
        "training of the step before."
    )
    return Table("overlap", "What a step waits for", header, tuple(rows), note)


def busy_table(experiment: Experiment, steps: dict[str, list[list[StepSeconds]]]) -> Table:
    header = (
        "", "trainer works", "bubble", "engines sample", "bubble", "of their room", "verifier works", "bubble",
        "of its sandboxes",
    )  # fmt: skip
    rows = []
    for cell, runs in steps.items():
        each = mean([step for run in runs for step in run])
        run = experiment.runs_of(cell)[0]
        room = room_of_engines(run)
        shares = [
            *with_bubble(each.training / each.wall),
            *with_bubble(each.sampling / each.wall),
            each.requests / (room * each.wall),
            *with_bubble(each.verification / each.wall),
            each.programs / (run.config["verify"]["workers"] * each.wall),
        ]
        rows.append((experiment.names[cell], *map(share, shares)))
    note = (
        "Shares of a step's wall time. A resource works while it has anything to do; a bubble is the rest. The room of "
        "the engines is rollout.engine.max_num_seqs requests at once for each server; the verifier has verify.workers "
        "sandboxes."
    )
    return Table("busy", "Who works", header, tuple(rows), note)


def with_bubble(working: float) -> tuple[float, float]:
    return working, 1 - working


def room_of_engines(run: Run) -> int:
    """Requests that all engines of a run can sample at once."""
    engine = run.config["rollout"]["engine"]
    return engine["max_num_seqs"] * max(1, len(engine.get("urls") or []))


def speed_up(experiment: Experiment, steps: dict[str, list[list[StepSeconds]]], cell: str) -> float:
    """Seconds of a step with lag 0 over those of this cell, whose lag is above 0; NaN where there is no such pair."""
    if not experiment.runs_of(cell)[0].settings.get(LAG):
        return math.nan
    pair = [other for other in steps if settings_but_lag(experiment, other) == settings_but_lag(experiment, cell)]
    without_lag = [other for other in pair if not experiment.runs_of(other)[0].settings.get(LAG)]
    if not without_lag:
        return math.nan
    wall = {each: mean([step for run in steps[each] for step in run]).wall for each in (cell, without_lag[0])}
    return wall[without_lag[0]] / wall[cell]


def settings_but_lag(experiment: Experiment, cell: str) -> dict:
    return {key: value for key, value in experiment.runs_of(cell)[0].settings.items() if key != LAG}


def mean_bound(runs: Sequence[Sequence[StepSeconds]]) -> float:
    bounds = [bound for run in runs if not math.isnan(bound := speed_up_bound(run))]
    return sum(bounds) / len(bounds) if bounds else math.nan


def hidden(exposed: float, whole: float) -> float:
    """The share that is not exposed; NaN where there is nothing."""
    return 1 - exposed / whole if whole else math.nan


def seconds(value: float) -> str:
    return NOTHING if math.isnan(value) else f"{value:.3g} s"


def share(value: float) -> str:
    return NOTHING if math.isnan(value) else f"{100 * value:.0f}%"


def factor(value: float) -> str:
    return NOTHING if math.isnan(value) else f"{value:.2f} x"
