"""One function per figure. Each takes tidy frames and returns a figure; ``ablate_analysis.style.save`` writes it.

``names`` maps each cell to its printed name; a cell's place in it decides the cell's colour, marker and dash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from ablate_analysis.curves import curve, curve_band
from ablate_analysis.effects import short_name
from ablate_analysis.outcomes import WARM_START
from ablate_analysis.style import BLACK, GREY, PALE_GREY, WIDTH, looks, new_figure, percent_label, styled

SEED_ALPHA, BAND_ALPHA = 0.45, 0.18

LEGEND_ROW_INCHES = 0.19


def learning_curves(
    metrics: pd.DataFrame, names: Mapping[str, str], name: str, window: int, confidence: float, ylabel: str
) -> Figure:
    """A panel per cell: its seeds, their mean and its interval; the other cells' means in grey."""
    curves = curve(metrics, name, window)
    band = curve_band(curves, confidence)
    look = looks(names)
    longest = max(len(line) for printed in names.values() for line in printed.split(", "))
    columns = min(len(names), 4 if longest <= 14 else 2)
    rows = -(-len(names) // columns)
    with styled():
        figure, axes = new_figure(columns, rows, WIDTH, 2.1 * rows + 0.4, sharex=True, sharey=True)
        for axis, cell in zip(axes, names, strict=False):
            for other, part in band.groupby("cell"):
                if other != cell:
                    axis.plot(part["step"], part["mean"], color=PALE_GREY, linewidth=0.9, zorder=1)
            draw_cell(axis, curves, band, cell, look[cell].colour)
            axis.set_title(names[cell].replace(", ", "\n"), color=look[cell].colour, fontweight="bold")
            axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
            axis.yaxis.set_major_formatter(percent_label)
        for axis in axes[len(names) :]:
            axis.set_axis_off()
        figure.supxlabel("step (one rollout batch)", fontsize=9)
        figure.supylabel(ylabel, fontsize=9)
    return figure


def draw_cell(axis: Axes, curves: pd.DataFrame, band: pd.DataFrame, cell: str, colour: str) -> None:
    for _, seed in curves[curves["cell"] == cell].groupby("seed"):
        axis.plot(seed["step"], seed["value"], color=colour, linewidth=0.8, alpha=SEED_ALPHA)
    part = band[band["cell"] == cell]
    axis.plot(part["step"], part["mean"], color=colour, linewidth=2.0)
    if part["low"].notna().any():
        axis.fill_between(part["step"], part["low"], part["high"], color=colour, alpha=BAND_ALPHA, linewidth=0)


def over_steps(
    metrics: pd.DataFrame, names: Mapping[str, str], panels: dict[str, str], window: int, percent: Sequence[str]
) -> Figure:
    """A panel per metric (``{name: title}``): the mean of every cell, with thin lines for its seeds."""
    look = looks(names)
    with styled():
        figure, axes = new_figure(len(panels), 1, WIDTH, 2.9, sharex=True)
        for axis, (name, title) in zip(axes, panels.items(), strict=True):
            curves = curve(metrics, name, window)
            means = curves.groupby(["cell", "step"], as_index=False)["value"].mean()
            for cell in names:
                for _, seed in curves[curves["cell"] == cell].groupby("seed"):
                    axis.plot(seed["step"], seed["value"], color=look[cell].colour, linewidth=0.6, alpha=SEED_ALPHA)
                mean = means[means["cell"] == cell]
                style = {"color": look[cell].colour, "linestyle": look[cell].dash}
                axis.plot(mean["step"], mean["value"], linewidth=2.0, label=names[cell], **style)
            axis.set_title(title)
            axis.set_xlabel("step (one rollout batch)")
            axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            if name in percent:
                axis.yaxis.set_major_formatter(percent_label)
        legend_below(figure, axes[0])
    return figure


def length_and_truncation(metrics: pd.DataFrame, names: Mapping[str, str], window: int) -> Figure:
    """Response length and share of rollouts that the context limit cut off, over steps."""
    panels = {
        "rollout/length_mean": "Mean response length (tokens)",
        "rollout/truncated": "Rollouts cut off by the context limit",
    }
    return over_steps(metrics, names, panels, window, percent=["rollout/truncated"])


def clip_fraction(metrics: pd.DataFrame, names: Mapping[str, str], window: int) -> Figure:
    """Share of tokens whose clip binds, below and above; the axis is logarithmic, but linear below 0.1 % to show 0."""
    panels = {"policy/clip_low": "Tokens clipped below 1 - low", "policy/clip_high": "Tokens clipped above 1 + high"}
    shares = list(panels)
    figure = over_steps(metrics, names, panels, window, percent=shares)
    top = max([0.01, *metrics[metrics["name"].isin(shares)]["value"]])
    for axis in figure.axes:
        axis.set_yscale("symlog", linthresh=1e-3)
        axis.set_ylim(-1e-4, top * 2)
        axis.set_yticks([tick for tick in (0.0, 1e-3, 1e-2, 1e-1, 1.0) if tick <= top * 2])
        axis.yaxis.set_major_formatter(percent_label)
        axis.minorticks_off()
    return figure


def legend_below(figure: Figure, axis: Axes) -> None:
    """One legend below all axes, with as many columns as fit; the figure grows by the rows beyond the second, because
    a wider or higher legend would squeeze the axes.
    """
    handles, labels = axis.get_legend_handles_labels()
    column_inches = 0.75 + 0.075 * max(map(len, labels))
    fitting = max(1, int(figure.get_figwidth() / column_inches))
    rows = -(-len(labels) // fitting)
    columns = -(-len(labels) // rows)
    figure.set_figheight(figure.get_figheight() + LEGEND_ROW_INCHES * max(0, rows - 2))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=8.5, handlelength=3.2)


def without_warm_start(names: Mapping[str, str]) -> list[str]:
    return [cell for cell in names if cell != WARM_START]


def score_by_context(frame: pd.DataFrame, names: Mapping[str, str], ylabel: str) -> Figure:
    """Pass@k with its interval at every evaluation context, and the warm start as a dashed line."""
    trained = frame[frame["cell"] != WARM_START]
    cells, contexts = list(dict.fromkeys(trained["cell"])), sorted(trained["context"].unique())
    look, place = looks(without_warm_start(names)), {context: index for index, context in enumerate(contexts)}
    spread = np.linspace(-0.22, 0.22, len(cells)) if len(cells) > 1 else np.zeros(1)
    with styled():
        figure, (axis,) = new_figure(1, 1, WIDTH * 0.75, 3.3)
        for cell, shift in zip(cells, spread, strict=True):
            rows = trained[trained["cell"] == cell].sort_values("context")
            x = np.array([place[context] for context in rows["context"]]) + shift
            errors = [rows["point"] - rows["low"], rows["high"] - rows["point"]]
            axis.plot(x, rows["point"], color=look[cell].colour, linestyle=look[cell].dash, linewidth=0.9, alpha=0.7)
            axis.errorbar(
                x, rows["point"], errors, fmt=look[cell].marker, color=look[cell].colour, capsize=3, label=names[cell]
            )
        for row in frame[(frame["cell"] == WARM_START) & frame["context"].isin(contexts)].itertuples():
            x = place[row.context]
            axis.hlines(row.point, x - 0.35, x + 0.35, color=BLACK, linestyle="dashed", linewidth=1.1)
            axis.annotate("warm start", (x - 0.35, row.point), xytext=(0, 3), textcoords="offset points", fontsize=7.5)
        axis.set_xticks(list(place.values()), [f"{context:,} tokens" for context in contexts])
        axis.set_xlim(-0.5, len(contexts) - 0.5)
        axis.grid(axis="x", visible=False)
        axis.set_xlabel("context at evaluation (prompt and response)")
        axis.set_ylabel(ylabel)
        axis.yaxis.set_major_formatter(percent_label)
        legend_below(figure, axis)
    return figure


def forest(frame: pd.DataFrame, names: Mapping[str, str], baseline: str) -> Figure:
    """Paired differences from the baseline with their intervals, a row per cell and context."""
    rows = frame.dropna(subset="difference")
    look = looks(without_warm_start(names))
    contexts = sorted(rows["context"].unique())
    with styled():
        height = 0.33 * len(rows) / len(contexts) + 1.2
        figure, axes = new_figure(len(contexts), 1, WIDTH, height, sharex=True, sharey=True)
        for axis, context in zip(axes, contexts, strict=True):
            here = rows[rows["context"] == context].iloc[::-1]
            for y, row in enumerate(here.itertuples()):
                errors = [[row.difference - row.difference_low], [row.difference_high - row.difference]]
                axis.errorbar(
                    row.difference, y, xerr=errors, fmt=look[row.cell].marker, color=look[row.cell].colour, capsize=3
                )
            axis.axvline(0.0, color=GREY, linewidth=1.0)
            axis.set_yticks(range(len(here)), [names[cell] for cell in here["cell"]])
            axis.set_ylim(-0.6, len(here) - 0.4)
            axis.set_title(f"{context:,} tokens")
            axis.grid(axis="y", visible=False)
            axis.xaxis.set_major_formatter(lambda value, _: f"{100 * value:+.0f}" if value else "0")
        figure.supxlabel(f"difference from {names[baseline]} (points), same problems and seeds", fontsize=9)
    return figure


def decomposition(frame: pd.DataFrame, names: Mapping[str, str]) -> Figure:
    """Share finished and pass rate among the finished; every curve joins points with the same Pass@1."""
    look, contexts = looks(without_warm_start(names)), sorted(frame["context"].unique())
    with styled():
        figure, axes = new_figure(len(contexts), 1, WIDTH, 3.1, sharex=True, sharey=True)
        low_x = max(0.0, frame["finished"].min() - 0.08)
        low_y, high_y = max(0.0, frame["passed_finished"].min() - 0.1), min(1.0, frame["passed_finished"].max() + 0.1)
        x = np.linspace(max(low_x, 0.01), 1.0, 200)
        for axis, context in zip(axes, contexts, strict=True):
            for level in np.arange(0.1, 1.0, 0.1):
                axis.plot(x, level / x, color="#d9d9d9", linewidth=0.8, zorder=1)
                if low_y < level < high_y:
                    axis.annotate(f"{level:.0%}", (1.0, level), xytext=(3, -3), textcoords="offset points", fontsize=7,
                                  color=GREY, annotation_clip=False)  # fmt: skip
            for row in frame[frame["context"] == context].itertuples():
                known = look.get(row.cell)
                marker, colour = (known.marker, known.colour) if known else ("*", BLACK)
                axis.plot(
                    row.finished,
                    row.passed_finished,
                    marker,
                    color=colour,
                    markersize=7,
                    label=names[row.cell],
                    clip_on=False,
                )
            axis.set_xlim(low_x, 1.0)
            axis.set_ylim(low_y, high_y)
            axis.set_title(f"{context:,} tokens")
            axis.set_xlabel("share finished")
            axis.grid(visible=False)
            for side in (axis.xaxis, axis.yaxis):
                side.set_major_formatter(percent_label)
        axes[0].set_ylabel("passed, of the finished")
        legend_below(figure, axes[0])
    return figure


def interaction(frame: pd.DataFrame, cells: pd.DataFrame, x: str, line: str, ylabel: str) -> Figure:
    """A 2 x 2: a panel per context, one factor along x, a line per level of the other.

    ``cells`` has the columns cell, <x> and <line>.
    """
    rows = frame.merge(cells, on="cell")
    levels, lines = sorted(rows[x].unique(), reverse=True), sorted(rows[line].unique())
    look = looks([str(value) for value in lines])
    contexts = sorted(rows["context"].unique())
    with styled():
        figure, axes = new_figure(len(contexts), 1, WIDTH, 3.1, sharey=True)
        for axis, context in zip(axes, contexts, strict=True):
            for index, value in enumerate(lines):
                here = rows[(rows["context"] == context) & (rows[line] == value)].set_index(x).reindex(levels)
                place = np.arange(len(levels)) + 0.06 * (index - (len(lines) - 1) / 2)
                errors = [here["point"] - here["low"], here["high"] - here["point"]]
                mine = look[str(value)]
                axis.errorbar(
                    place, here["point"], errors, fmt=mine.marker, linestyle=mine.dash, color=mine.colour, capsize=3,
                    label=level_label(line, value),
                )  # fmt: skip
            axis.set_xticks(range(len(levels)), [level_label(x, level) for level in levels])
            axis.set_xlim(-0.4, len(levels) - 0.6)
            axis.set_title(f"{context:,} tokens")
            axis.yaxis.set_major_formatter(percent_label)
        axes[0].set_ylabel(ylabel)
        legend_below(figure, axes[0])
    return figure


def level_label(key: str, value: object) -> str:
    return f"{short_name(key)} {str(value).replace('_', ' ')}"


def compute_axes(metrics: pd.DataFrame, spent: pd.DataFrame, names: Mapping[str, str], window: int) -> Figure:
    """The pass rate of rollouts over steps, sampled tokens and seconds: for each cell, the mean over its seeds."""
    curves = curve(metrics, "rollout/pass_rate", window).merge(spent, on=["cell", "seed", "step"])
    panels = {"step": "steps", "tokens": "sampled tokens", "seconds": "seconds"}
    shown = [column for column in panels if curves[column].notna().any()]
    means = curves.groupby(["cell", "step"], as_index=False)[["value", "tokens", "seconds"]].mean()
    look = looks(names)
    with styled():
        figure, axes = new_figure(len(shown), 1, WIDTH, 2.9, sharey=True)
        for axis, column in zip(axes, shown, strict=True):
            for cell in names:
                mean = means[means["cell"] == cell]
                style = {"color": look[cell].colour, "linestyle": look[cell].dash}
                axis.plot(mean[column], mean["value"], label=names[cell], **style)
            axis.set_xlabel(panels[column])
            axis.xaxis.set_major_locator(MaxNLocator(4, integer=column != "seconds"))
            axis.xaxis.set_major_formatter(EngFormatter(sep=""))
            axis.yaxis.set_major_formatter(percent_label)
        axes[0].set_ylabel(f"pass rate of rollouts\n(mean of {window} steps)")
        legend_below(figure, axes[0])
    return figure
