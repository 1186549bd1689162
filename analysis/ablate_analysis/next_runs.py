"""Which runs a sweep with a declared design makes next, or that its comparison is decided (``comparison.design``)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ablate.config import RunConfig
from ablate.errors import UserError
from ablate.files import write_atomic
from ablate.records import RunDirectory
from ablate.types import VerdictKind
from ablate_analysis.design import LOOKS_FILE, design_of, looks_taken
from ablate_analysis.sequential import Design, Look, look_at

if TYPE_CHECKING:
    from ablate.sweep import PlannedRun


@dataclass(frozen=True)
class Next:
    """What comes next: the runs to make (none once decided), the looks so far, and a sentence."""

    runs: tuple[PlannedRun, ...]
    looks: tuple[Look, ...]
    sentence: str


def what_next(runs: Sequence[PlannedRun]) -> Next:
    """Look where a look is due, and return what follows.

    The seeds are taken in the order of the sweep. A look is due once all cells have all seeds of that look.

    Raises:
        UserError: if the experiment declares no design, or its cells or seeds do not fit it.
    """
    design, cells = declared(runs)
    seeds = list(dict.fromkeys(run.config.seed for run in runs))
    if len(seeds) < design.most:
        raise UserError(
            f"comparison.design looks at {design.most} seeds, and the sweep has {len(seeds)}: "
            f"sweep seed=range({design.most})"
        )
    experiment = runs[0].directory.parents[1]
    config = runs[0].config
    looks: list[Look] = []
    for count in design.looks:
        missing = tuple(run for run in runs if run.config.seed in seeds[:count] and not is_done(run))
        if missing:
            place = f"look {len(looks) + 1} of {len(design.looks)}, at {count} seeds"
            return Next(missing, tuple(looks), f"next: {len(missing)} runs before {place}")
        difference_S = [score(runs, cells[1], seed) - score(runs, cells[0], seed) for seed in seeds[:count]]
        taken = [*note_look(experiment, count), *(look.num_seeds for look in looks)]
        looks.append(look_at(difference_S, taken, design))
        if looks[-1].verdict != "continue":
            break
    return Next((), tuple(looks), decision(looks[-1], design, cells, config))


def declared(runs: Sequence[PlannedRun]) -> tuple[Design, tuple[str, str]]:
    """The design, and the cells of its comparison: baseline and the other."""
    comparison = runs[0].config.comparison
    if comparison.design is None:
        raise UserError(
            f"experiment={runs[0].config.experiment} declares no comparison.design, so no look before its end keeps an "
            "error rate: declare cell, context, effect and looks there, or make all runs without next=true"
        )
    made = comparison.design
    names = {run.config.cell for run in runs}
    for cell in (comparison.baseline, made.cell):
        if cell not in names:
            there = ", ".join(sorted(names))
            raise UserError(f"comparison.design compares {cell}, which is no cell of the sweep: use one of {there}")
    return design_of(made), (comparison.baseline, made.cell)


def is_done(run: PlannedRun) -> bool:
    return RunDirectory(run.directory).status == "done"


def score(runs: Sequence[PlannedRun], cell: str, seed: int) -> float:
    """Pass@1 of a run after training, at the context of the design."""
    run = next(run for run in runs if (run.config.cell, run.config.seed) == (cell, seed))
    context = run.config.comparison.design.context
    rows = [row for row in RunDirectory(run.directory).steps.eval_rows() if row.context == context]
    last = max((row.step for row in rows), default=0)
    verdicts = [row.passed for row in rows if row.step == last and row.verdict != VerdictKind.infrastructure_error]
    if not verdicts or last == 0:
        raise UserError(f"{run.directory} has no evaluation after training at {context} tokens: set eval.at_end=true")
    return sum(verdicts) / len(verdicts)


def note_look(experiment: Path, count: int) -> list[int]:
    """Record a look at so many seeds, and return the earlier ones that looks.json holds."""
    before = looks_taken(experiment)
    if count not in before:
        write_atomic(experiment / LOOKS_FILE, json.dumps({"looks": sorted([*before, count])}) + "\n")
    return [look for look in before if look < count]


def decision(look: Look, design: Design, cells: tuple[str, str], config: RunConfig) -> str:
    """The sentence that ends a sweep."""
    base, other = cells
    where = f"at {config.comparison.design.context} tokens, after {look.num_seeds} of at most {design.most} seeds"
    size = f"{100 * look.estimate:+.1f} points [{100 * look.interval.low:+.1f}, {100 * look.interval.high:+.1f}]"
    if look.verdict == "claim":
        is_early = look.num_seeds < design.most
        early = " The size is too large on average, because the sweep stopped early." if is_early else ""
        return f"decided: {other} {'above' if look.estimate > 0 else 'below'} {base}, {size} {where}.{early}"
    if look.verdict == "futile":
        return (
            f"decided: stopped as futile, {other} - {base} {size} {where}: even if the true difference were "
            f"{100 * design.effect:.0f} points, the chance of a claim at the end would be {100 * look.chance:.0f} %."
        )
    return f"decided: no difference between {other} and {base} is claimed, {size} {where}."


def shown(looks: Sequence[Look]) -> list[str]:
    """One line a look."""
    return [
        f"look {number}: {look.num_seeds} seeds, difference {100 * look.estimate:+.1f} points, p {look.p:.2g} against "
        f"{look.level:.2g}: {look.verdict}"
        for number, look in enumerate(looks, 1)
    ]
