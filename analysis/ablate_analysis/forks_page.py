"""What a report shows of forks: tables, and the figure of each arm's effect as a function of training time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from ablate_analysis import forks
from ablate_analysis.figures import Plot
from ablate_analysis.forks import CHANGE, EVERY, Branches
from ablate_analysis.load import Experiment
from ablate_analysis.pages.figure_data import plain
from ablate_analysis.pages.figures import PageFigure
from ablate_analysis.render import Table
from ablate_analysis.style import GREY, WIDTH, looks, new_figure, styled
from ablate_analysis.tables import points, with_interval

METHOD = (
    "An effect is Pass@1 after the branch minus that of the baseline's branch from the same checkpoint of the same "
    "parent, with the same repeat: the same problems, in the same order, with the same random numbers. Repeats of a "
    "parent are averaged. Problems are resampled with replacement, the same draws for every arm; the error of the mean "
    "over parents (over repeats, if there is one parent) is drawn from Student's t, with the residual variance of arms "
    "x parents. p-values are adjusted by Holm's method, over all single points together, and over the means and "
    "changes together. docs/statistics.md says how often such intervals hold the truth."
)


@dataclass(frozen=True)
class ForkFindings:
    answer: list[str]
    scope: str  # what may be concluded
    labels: list[str]
    tables: list[Table]
    figures: list[PageFigure]
    plot: Plot
    frame: pd.DataFrame
    names: dict[str, str]


def fork_findings(experiment: Experiment, baseline: str, resamples: int, confidence: float, seed: int) -> ForkFindings:
    """Everything that the finished branches say."""
    branches = forks.read_branches(experiment, baseline)
    frame = forks.effects(branches, resamples, confidence, seed)
    labels = []
    if branches.num_left_out:
        labels.append(
            f"{branches.num_left_out} finished branches are left out, because their repeat is not complete yet."
        )
    cosines = forks.cosines(branches, experiment.runs)
    tables = [
        effects_table(branches, frame, confidence),
        scores_table(branches),
        noise_table(branches, frame),
        cosine_table(branches, frame, cosines),
    ]
    figures = [effect_figure(branches, frame, context, confidence) for context in branches.contexts[::-1]]
    plot = Plot(
        "effects_of_forks",
        "Effect as a function of training time",
        figures[0].note,
        drawn(branches, frame),
        "; ".join(each.alt for each in figures),
    )
    said = forks.sentences(branches, frame, confidence)
    scope = forks.what_may_be_concluded(branches)
    return ForkFindings(said, scope, labels, tables, figures, plot, frame, dict(branches.names))


def place_name(branches: Branches, point: int | str) -> str:
    first, last = branches.points[0], branches.points[-1]
    return {EVERY: "mean of the points", CHANGE: f"step {last} - step {first}"}.get(point, f"step {point}")


def effects_table(branches: Branches, frame: pd.DataFrame, confidence: float) -> Table:
    base = branches.names[branches.arms[0]]
    header = ("", "forked at", *(f"at {context:,} tokens" for context in branches.contexts))
    rows = []
    for (arm, point), group in frame.groupby(["arm", "point"], sort=False):
        by_context = group.set_index("context")
        cells = []
        for context in branches.contexts:
            row = by_context.loc[context]
            mark = " *" if row["p_holm"] < 1 - confidence else ""
            cells.append(with_interval(row["effect"], row["low"], row["high"], signed=True) + mark)
        rows.append((branches.arms.index(arm), (branches.names[arm], place_name(branches, point), *cells)))
    note = (
        f"Points of Pass@1 after {branches.num_steps} steps, minus those of {base} from the same states with the same "
        f"random numbers, with {confidence:.0%} intervals; {len(branches.parents)} parents, {len(branches.repeats)} "
        "repeats each. *: the adjusted p is below 0.05."
    )
    ordered = tuple(cells for _, cells in sorted(rows, key=lambda pair: pair[0]))
    return Table("fork_effects", f"Effect of {branches.num_steps} steps, compared with {base}", header, ordered, note)


def scores_table(branches: Branches) -> Table:
    """Pass@1 itself, by arm and point."""
    header = ("", "forked at", *(f"at {context:,} tokens" for context in branches.contexts))
    rows = tuple(
        (
            name,
            f"step {point}",
            *(points(branches.score[context, point][place].mean()) for context in branches.contexts),
        )
        for place, name in enumerate(branches.names[arm] for arm in branches.arms)
        for point in branches.points
    )
    note = "Pass@1 in percent at the end of the branches, mean over parents, repeats and problems."
    return Table("fork_scores", "Scores at the end of the branches", header, rows, note)


def noise_table(branches: Branches, frame: pd.DataFrame) -> Table:
    """What an effect's error consists of, and what it cost."""
    pair, parents = forks.steps_of_pair(branches)
    rows = []
    for context in branches.contexts:
        for point in branches.points:
            here = frame[(frame["context"] == context) & (frame["point"] == point)]
            of_parents, of_repeats = forks.deviations(branches, context, point)
            errors = [math.sqrt((here[name] ** 2).mean()) for name in ("error", "unit_error")]
            rows.append((f"{context:,}", f"step {point}", points(of_parents), points(of_repeats), *map(points, errors)))
    header = ("tokens", "forked at", "between parents", "between repeats", "standard error", "without problems")
    note = (
        "Standard deviations of an effect in points, means over the arms; the standard error of an effect over "
        "parents, repeats and problems, and its part that more parents or repeats would reduce. The two arms of one "
        f"effect took {pair:,} steps from the fork points; the parents took {parents:,} steps up to the last one, "
        "which all effects share."
    )
    return Table("fork_noise", "Where the error of an effect comes from", header, tuple(rows), note)


def cosine_table(branches: Branches, frame: pd.DataFrame, cosines: pd.DataFrame) -> Table:
    """The laboratory's cosine at the fork point, next to the effect some steps later."""
    base = branches.names[branches.arms[0]]
    merged = cosines.merge(frame, on=["arm", "point"])
    header = (
        "",
        "forked at",
        f"cosine with {base}",
        *(f"effect at {context:,} tokens" for context in branches.contexts),
    )
    rows = []
    for (arm, point), group in merged.groupby(["arm", "point"], sort=False):
        effect = group.set_index("context")["effect"]
        shown = (points(effect[context], signed=True) for context in branches.contexts)
        rows.append((branches.names[arm], f"step {point}", f"{group['cosine'].iloc[0]:+.2f}", *shown))
    note = (
        "The cosine is that of the two gradients on the parent's next batch (ablate.laboratory moment=during), mean "
        "over the parents. "
    )
    if not rows:
        note += "None here: run ablate.laboratory on the parents first (docs/forks.md)."
    for context in branches.contexts if len(rows) > 3 else ():
        here = merged[merged["context"] == context]
        ranked = here["cosine"].rank().corr(here["effect"].abs().rank())
        note += f"Rank correlation with the size of the effect at {context:,} tokens: {ranked:+.2f}. "
    return Table("fork_cosines", "The gradient now and the score later", header, tuple(rows), note)


def effect_figure(branches: Branches, frame: pd.DataFrame, context: int, confidence: float) -> PageFigure:
    """The effect of every arm at every point, at one context."""
    here = frame[(frame["context"] == context) & frame["point"].isin(branches.points)]
    rows = [
        {
            "cell": row.arm,
            "x": int(row.point),
            "value": plain(row.effect),
            "low": plain(row.low),
            "high": plain(row.high),
        }
        for row in here.itertuples()
    ]
    spec = {"kind": "dots", "unit": "points", "rows": rows, "xs": list(branches.points), "x_unit": "steps",
            "x_title": "steps of the parent before the fork"}  # fmt: skip
    base = branches.names[branches.arms[0]]
    note = (
        f"Pass@1 after {branches.num_steps} more steps, minus that of {base} from the same states; {confidence:.0%} "
        "intervals, not adjusted for several comparisons. One that crosses 0 shows no difference."
    )
    alt = "; ".join(
        f"{branches.names[row.arm]} from step {row.point} {with_interval(row.effect, row.low, row.high, True)} points"
        for row in here.itertuples()
    )
    title = f"Effect as a function of training time, at {context:,} tokens"
    return PageFigure(f"fork-effects-{context}", title, note, f"At {context:,} tokens: {alt}", spec)


def drawn(branches: Branches, frame: pd.DataFrame) -> Figure:
    """The same for print: a panel per context."""
    look = looks(branches.arms)
    single = frame[frame["point"].isin(branches.points)]
    gap = 0.04 * (branches.points[-1] - branches.points[0] or 1)
    with styled():
        figure, axes = new_figure(len(branches.contexts), 1, WIDTH, 3.1, sharey=True)
        for axis, context in zip(axes, branches.contexts, strict=True):
            axis.axhline(0.0, color=GREY, linewidth=1.0)
            for place, arm in enumerate(branches.arms[1:]):
                rows = single[(single["context"] == context) & (single["arm"] == arm)]
                x = rows["point"].astype(float) + gap * (place - (len(branches.arms) - 2) / 2)
                errors = [rows["effect"] - rows["low"], rows["high"] - rows["effect"]]
                axis.errorbar(x, rows["effect"], errors, fmt=look[arm].marker, linestyle=look[arm].dash,
                              color=look[arm].colour, capsize=3, label=branches.names[arm])  # fmt: skip
            axis.set_title(f"{context:,} tokens")
            axis.set_xticks(branches.points)
            axis.yaxis.set_major_formatter(lambda value, _: f"{100 * value:+.0f}" if value else "0")
        axes[0].set_ylabel(f"effect of {branches.num_steps} steps (points)")
        figure.supxlabel("steps of the parent before the fork", fontsize=9)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure
