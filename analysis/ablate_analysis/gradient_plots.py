"""Figures of gradients on the same rollouts: how alike objectives are, which rollouts they move, where they clip.

The laboratory's figures read ``laboratory.parquet`` and ``rollouts.parquet`` (docs/laboratory.md); the last two read
the frames of ``ablate_analysis.same_rollouts``. ``names`` maps each objective or cell to its printed name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ablate.laboratory import AS_CONFIGURED
from ablate_analysis.objective_map import objective_map
from ablate_analysis.plots import legend_below
from ablate_analysis.style import GREY, WIDTH, looks, new_figure, percent_label, save, styled

MOST_IN_A_FIGURE = 10  # with more objectives, lines and bars cannot be told apart: one map takes their place
SPACES = {"cosine_logp": "log-probability space", "cosine_parameters": "parameter space"}


def write_figures(folder: Path, label_of: Callable[[str], str]) -> list[Path]:
    """Read ``laboratory.parquet`` and ``rollouts.parquet`` in ``folder`` and write the figures next to them.

    Args:
        label_of: gives an objective's printed name.
    """
    rows = pd.read_parquet(folder / "laboratory.parquet")
    rollouts = pd.read_parquet(folder / "rollouts.parquet")
    names = {name: label_of(name) for name in rows["objective"].unique() if name}
    if len(names) > MOST_IN_A_FIGURE:
        return save(objective_map(rows, names), folder, "objectives")
    figures = {
        "cosines": cosine_maps(rows, names),
        "mass_by_length": mass_by_length(rows, rollouts, names),
        "ratios": ratio_histograms(rows, names),
        "toggles": toggle_cosines(rows, names),
    }
    return [path for name, figure in figures.items() if figure for path in save(figure, folder, name)]


def checkpoints_in(rows: pd.DataFrame) -> str:
    steps = sorted(rows["checkpoint"].unique())
    return f"checkpoint {steps[0]}" if len(steps) == 1 else f"mean over checkpoints {', '.join(map(str, steps))}"


def cosine_maps(rows: pd.DataFrame, names: Mapping[str, str]) -> Figure | None:
    """A heat map per space: the cosine of every pair of gradients on the same rollouts."""
    spaces = [space for space in SPACES if (rows["measure"] == space).any()]
    if len(names) < 2 or not spaces:
        return None
    with styled():
        side = 0.9 + 0.62 * len(names)
        figure, axes = new_figure(len(spaces), 1, side * len(spaces) + 0.8, side)
        for axis, space in zip(axes, spaces, strict=True):
            part = rows[(rows["measure"] == space) & (rows["toggle"] == AS_CONFIGURED)]
            table = part.pivot_table(index="objective", columns="bucket", values="value").reindex(
                list(names), columns=list(names)
            )
            values = table.to_numpy(copy=True)
            np.fill_diagonal(values, 1.0)
            image = draw_map(axis, values, names)
            axis.set_title(SPACES[space])
        figure.colorbar(image, ax=axes, shrink=0.8, label="cosine of the gradients")
        figure.suptitle(
            f"{len(names)} objectives on the same rollouts ({checkpoints_in(rows)})", x=0.01, ha="left", fontsize=10
        )
    return figure


def draw_map(axis: Axes, values: np.ndarray, names: Mapping[str, str]):
    image = axis.imshow(values, vmin=-1, vmax=1, cmap="RdBu_r")
    axis.grid(False)
    axis.set_xticks(range(len(names)), list(names.values()), rotation=45, ha="right")
    axis.set_yticks(range(len(names)), list(names.values()))
    for (row, column), value in np.ndenumerate(values):
        colour = "white" if abs(value) > 0.6 else "black"
        text = "" if np.isnan(value) else f"{value:.2f}"
        axis.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    return image


def mass_by_length(rows: pd.DataFrame, rollouts: pd.DataFrame, names: Mapping[str, str]) -> Figure:
    """Left: the gradient mass of each rollout against its length. Right: the share of each length bucket."""
    look = looks(names)
    with styled():
        figure, (left, right) = new_figure(2, 1, WIDTH, 3.1)
        for name in names:
            part = rollouts[(rollouts["objective"] == name) & (rollouts["mass"] > 0)]
            style = {"color": look[name].colour, "marker": look[name].marker}
            left.plot(
                part["length"], part["mass"], linestyle="", markersize=3.5, alpha=0.65, label=names[name], **style
            )
        left.set(xlabel="response length (tokens)", ylabel="share of the gradient's mass")
        left.yaxis.set_major_formatter(percent_label)
        left.set_ylim(bottom=0)
        left.set_title("One mark per rollout that trains")
        draw_shares(right, rows, names)
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(names), 5))
    return figure


def draw_shares(axis: Axes, rows: pd.DataFrame, names: Mapping[str, str]) -> None:
    """Bars per length bucket of the newest checkpoint, and a line for the share of tokens that the bucket has."""
    newest = rows[(rows["checkpoint"] == rows["checkpoint"].max()) & (rows["toggle"] == AS_CONFIGURED)]
    newest = newest[newest["step"] == newest["step"].max()]
    mass = newest[newest["measure"] == "mass_by_length"]
    buckets = list(mass["bucket"].unique())
    look, width = looks(names), 0.8 / len(names)
    for index, name in enumerate(names):
        shares = mass[mass["objective"] == name].set_index("bucket")["value"].reindex(buckets)
        places = np.arange(len(buckets)) + (index - (len(names) - 1) / 2) * width
        axis.bar(places, shares, width, color=look[name].colour)
    tokens = newest[newest["measure"] == "tokens_by_length"].drop_duplicates("bucket").set_index("bucket")["value"]
    for place, bucket in enumerate(buckets):
        axis.hlines(tokens[bucket], place - 0.45, place + 0.45, color=GREY, linewidth=1.4, linestyle="--", zorder=3)
    axis.set_xticks(range(len(buckets)), [bucket.replace("-", "–") for bucket in buckets])
    axis.set(xlabel="response length (tokens)", ylabel="share of the gradient's mass")
    axis.yaxis.set_major_formatter(percent_label)
    axis.set_title(f"Checkpoint {newest['checkpoint'].max()} (dashed: share of tokens)")


def ratio_histograms(rows: pd.DataFrame, names: Mapping[str, str]) -> Figure:
    """Token and sequence ratios of the newest checkpoint, with each objective's clip range drawn in."""
    newest = rows[rows["checkpoint"] == rows["checkpoint"].max()]
    newest = newest[newest["step"] == newest["step"].max()]
    look = looks(names)
    with styled():
        figure, axes = new_figure(2, 1, WIDTH, 3.0)
        for axis, kind, title in zip(
            axes, ("token", "sequence"), ("token ratios $r_{it}$", "sequence ratios $s_i$"), strict=True
        ):
            part = newest[newest["measure"] == f"{kind}_ratio"]
            middles = part["bucket"].astype(float).to_numpy()
            axis.bar(middles, part["value"], width=np.gradient(middles), color="#c4c9cf", label="rollouts")
            axis.xaxis.set_major_locator(MaxNLocator(4))
            axis.xaxis.get_major_formatter().set_useOffset(False)
            if kind == "token":
                axis.set_yscale("log")  # the tail is what a clip is for
            else:
                axis.yaxis.set_major_formatter(percent_label)
            clips = newest[(newest["measure"] == f"clip_range_{kind}") & (newest["toggle"] == AS_CONFIGURED)]
            draw_clips(axis, clips, names, look, middles)
            axis.set(xlabel="ratio", ylabel=f"share of {kind}s", title=title)
    return figure


def draw_clips(axis: Axes, clips: pd.DataFrame, names: Mapping[str, str], look: dict, middles: np.ndarray) -> None:
    """Vertical lines at 1 - low and 1 + high; a range that is wider than the picture is written, not drawn."""
    ranges: dict[tuple[float, float], list[str]] = {}
    for name in names:
        bounds = clips[clips["objective"] == name].drop_duplicates("bucket").set_index("bucket")["value"]
        if not bounds.empty:
            ranges.setdefault((bounds["low"], bounds["high"]), []).append(name)
    for bounds, sharing in ranges.items():
        inside = [bound for bound in bounds if middles.min() <= bound <= middles.max()]
        text = f"{', '.join(names[name] for name in sharing)} clip: {bounds[0]:.5g} to {bounds[1]:.5g}"
        style = {"color": look[sharing[0]].colour, "linestyle": look[sharing[0]].dash, "linewidth": 1.5}
        for index, bound in enumerate(inside):
            axis.axvline(bound, label=text if index == 0 else None, **style)
        if not inside:
            axis.plot([], [], label=f"{text}, beyond the picture", **style)
    axis.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.2))


def toggle_cosines(rows: pd.DataFrame, names: Mapping[str, str]) -> Figure | None:
    """How far each toggle turns an objective's gradient: the cosine with the gradient without the toggle."""
    space = next((space for space in reversed(SPACES) if (rows["measure"] == space).any()), None)
    part = rows[(rows["measure"] == space) & (rows["toggle"] != AS_CONFIGURED) & (rows["toggle"] != "")]
    if space is None or part.empty:
        return None
    toggles = list(part["toggle"].unique())
    means = part.pivot_table(index="toggle", columns="objective", values="value").reindex(toggles)
    look = looks(names)
    with styled():
        figure, (axis,) = new_figure(1, 1, WIDTH * 0.8, 0.9 + 0.32 * len(toggles))
        for index, name in enumerate(name for name in names if name in means):
            offset = (index - (len(names) - 1) / 2) * 0.14
            places = np.arange(len(toggles)) + offset
            axis.plot(
                means[name], places, linestyle="", marker=look[name].marker, color=look[name].colour, label=names[name]
            )
        axis.set_yticks(range(len(toggles)), toggles)
        axis.invert_yaxis()
        axis.set(xlabel=f"cosine with the same objective as configured ({SPACES[space]})")
        axis.set_title(f"What a toggle changes ({checkpoints_in(rows)})")
        axis.axvline(1.0, color=GREY, linewidth=0.8)
        figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=min(len(names), 5))
    return figure


def mass_against_length(mass: pd.DataFrame, names: Mapping[str, str]) -> Figure:
    """Share of the gradient of each rollout against its length, a panel per objective; dashed: equal shares."""
    look, equal = looks(names), 1 / mass["rollout"].nunique()
    columns = min(len(names), 4)
    rows = -(-len(names) // columns)
    with styled():
        figure, axes = new_figure(columns, rows, WIDTH, 2.2 * rows + 0.4, sharex=True, sharey=True)
        for axis, cell in zip(axes, names, strict=False):
            here = mass[mass["cell"] == cell]
            axis.scatter(here["length"], here["mass"], s=16, color=look[cell].colour, marker=look[cell].marker)
            axis.axhline(equal, color=GREY, linestyle="dashed", linewidth=0.9)
            axis.set_title(names[cell].replace(", ", "\n"), color=look[cell].colour, fontweight="bold")
            axis.yaxis.set_major_formatter(percent_label)
        for axis in axes[len(names) :]:
            axis.set_axis_off()
        figure.supxlabel("response length (tokens)", fontsize=9)
        figure.supylabel("share of the gradient", fontsize=9)
    return figure


def clip_against_movement(clipped: pd.DataFrame, names: Mapping[str, str]) -> Figure:
    """Share of clipped tokens against how far the policy has moved."""
    look = looks(names)
    with styled():
        figure, (axis,) = new_figure(1, 1, WIDTH * 0.75, 3.1)
        for cell in names:
            here = clipped[clipped["cell"] == cell]
            style = {"color": look[cell].colour, "linestyle": look[cell].dash, "marker": look[cell].marker}
            axis.plot(here["deviation"], here["clipped"], markersize=3.5, label=names[cell], **style)
        axis.set_xscale("log")
        axis.set_xlabel("movement of the policy (standard deviation of a token's log ratio, nats)")
        axis.set_ylabel("tokens clipped")
        axis.yaxis.set_major_formatter(percent_label)
        legend_below(figure, axis)
    return figure
