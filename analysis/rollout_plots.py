"""Figures of one recorded batch under several objectives; see ``analysis.same_rollouts``."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.plots import WIDTH, legend_below
from analysis.style import label, looks, new_figure, percent_label, styled


def mass_against_length(mass: pd.DataFrame) -> Figure:
    """Share of the gradient of each rollout against its length, a panel per objective; dashed: equal shares."""
    cells = list(dict.fromkeys(mass["cell"]))
    look, equal = looks(cells), 1 / mass["rollout"].nunique()
    columns = min(len(cells), 4)
    rows = -(-len(cells) // columns)
    with styled():
        figure, axes = new_figure(columns, rows, WIDTH, 2.2 * rows + 0.4, sharex=True, sharey=True)
        for axis, cell in zip(axes, cells, strict=False):
            here = mass[mass["cell"] == cell]
            axis.scatter(here["length"], here["mass"], s=16, color=look[cell].colour, marker=look[cell].marker)
            axis.axhline(equal, color="#767676", linestyle="dashed", linewidth=0.9)
            axis.set_title(label(cell).replace(", ", "\n"), color=look[cell].colour, fontweight="bold")
            axis.yaxis.set_major_formatter(percent_label)
        for axis in axes[len(cells) :]:
            axis.set_axis_off()
        figure.supxlabel("response length (tokens)", fontsize=9)
        figure.supylabel("share of the gradient", fontsize=9)
    return figure


def clip_against_movement(clipped: pd.DataFrame) -> Figure:
    """Share of clipped tokens against how far the policy has moved."""
    cells = list(dict.fromkeys(clipped["cell"]))
    look = looks(cells)
    with styled():
        figure, (axis,) = new_figure(1, 1, WIDTH * 0.75, 3.1)
        for cell in cells:
            here = clipped[clipped["cell"] == cell]
            style = {"color": look[cell].colour, "linestyle": look[cell].dash, "marker": look[cell].marker}
            axis.plot(here["deviation"], here["clipped"], markersize=3.5, label=label(cell), **style)
        axis.set_xscale("log")
        axis.set_xlabel("movement of the policy (standard deviation of a token's log ratio, nats)")
        axis.set_ylabel("tokens clipped")
        axis.yaxis.set_major_formatter(percent_label)
        legend_below(figure, axis)
    return figure
