"""The looks of a sweep with a declared design (``comparison.design``), and the label of a sweep without one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ablate.config import ComparisonConfig
from ablate.config.schema import DesignConfig
from ablate.files import read_json
from ablate_analysis.compare import Comparison
from ablate_analysis.load import Experiment
from ablate_analysis.render import Table
from ablate_analysis.sequential import Design, Look, look_at
from ablate_analysis.tables import points, with_interval

LOOKS_FILE = "looks.json"  # in the experiment's directory: the numbers of seeds at which the difference was looked at
EARLY = (
    "The sweep is unfinished and declares no design for an early look (comparison.design): its intervals and p-values "
    "hold for one look at its planned end."
)


def design_of(declared: DesignConfig) -> Design:
    return Design(tuple(declared.looks), declared.alpha, declared.effect, declared.futility)


def looks_taken(experiment: Path) -> list[int]:
    """The numbers of seeds at which somebody has looked."""
    path = experiment / LOOKS_FILE
    return read_json(path)["looks"] if path.is_file() else []


def early_label(experiment: Experiment, declared: ComparisonConfig, is_unfinished: bool) -> list[str]:
    """What a reader must know who looks before the planned end."""
    made = declared.design
    if made is None:
        return [EARLY] if is_unfinished and declared.factors else []
    seeds = [{run.seed for run in experiment.runs_of(cell)} for cell in (declared.baseline, made.cell)]
    count = len(seeds[0] & seeds[1])
    following = next((look for look in made.looks if look > count), None)
    if count in (0, *made.looks) or following is None:
        return []
    return [
        f"{count} seeds are finished, and the declared looks are at {', '.join(map(str, made.looks))} seeds: a "
        f"difference that is read here is a look that nothing records. The error rate of {made.alpha:g} holds if you "
        f"decide at {following} seeds or later."
    ]


def looks_of(experiment: Experiment, comparison: Comparison, declared: ComparisonConfig) -> list[Look]:
    """The declared looks that the finished runs allow, until the one that decided."""
    made = declared.design
    arms = {arm.cell: arm for arm in comparison.arms if made and arm.context == made.context}
    if not made or not {declared.baseline, made.cell} <= arms.keys():
        return []
    by_seed = [
        dict(zip(arms[cell].seeds, arms[cell].score(1).mean(axis=1).tolist(), strict=True))
        for cell in (declared.baseline, made.cell)
    ]
    seeds = sorted(by_seed[0].keys() & by_seed[1].keys())
    taken, design = looks_taken(experiment.path), design_of(made)
    found: list[Look] = []
    for count in design.looks:
        if len(seeds) < count or (found and found[-1].verdict != "continue"):
            break
        gaps = [by_seed[1][seed] - by_seed[0][seed] for seed in seeds[:count]]
        earlier = [look for look in taken if look < count] + [look.num_seeds for look in found]
        found.append(look_at(gaps, earlier, design))
    return found


def look_sentence(looks: Sequence[Look], comparison: Comparison, declared: ComparisonConfig) -> list[str]:
    """What the declared design says so far; nothing before its first look."""
    made = declared.design
    if not looks:
        return []
    last, names = looks[-1], comparison.names
    pair = f"{names.get(made.cell, made.cell)} minus {names.get(declared.baseline, declared.baseline)}"
    verdicts = {
        "claim": "the declared comparison is decided: the difference is claimed",
        "futile": "the declared comparison is decided: a claim has become unlikely",
        "end": "the declared comparison is decided: no difference is claimed",
    }
    said = verdicts.get(last.verdict, "the declared comparison goes on")
    size = with_interval(last.estimate, last.interval.low, last.interval.high, signed=True)
    return [
        f"Look {len(looks)} of {len(made.looks)} of the declared design, at {last.num_seeds} seeds: {pair} at "
        f"{made.context:,} tokens is {size}, p {last.p:.2g} against {last.level:.2g}; {said}."
    ]


def design_table(looks: Sequence[Look], comparison: Comparison, declared: ComparisonConfig) -> Table:
    made = declared.design
    rows = [
        (str(look.num_seeds), with_interval(look.estimate, look.interval.low, look.interval.high, signed=True),
         f"{look.p:.2g}", f"{look.level:.2g}", f"{100 * look.chance:.0f} %", look.verdict)
        for look in looks
    ]  # fmt: skip
    names = comparison.names
    pair = f"{names.get(made.cell, made.cell)} minus {names.get(declared.baseline, declared.baseline)}"
    note = (
        f"{pair} at {made.context:,} tokens, paired t over seeds, on these problems. Declared: looks at "
        f"{', '.join(map(str, made.looks))} seeds, error rate {made.alpha:g} over all looks, effect of interest "
        f"{points(made.effect)} points, futility {made.futility:g}. The intervals hold over all looks together; after "
        "an early stop the estimate is too large on average."
    )
    header = ("seeds", "difference", "p", "level", "chance of a claim\nat the end", "verdict")
    return Table("design", "Looks of the declared design", header, tuple(rows), note)
