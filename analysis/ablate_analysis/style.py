"""One look for every figure: a colour, marker and dash for each cell, fit for print and for colour-blind readers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

# Okabe and Ito's palette (Color Universal Design, 2008) without its yellow, which vanishes on white paper. Markers and
# dashes differ as well, so that no figure relies on colour alone.
BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, BLACK = "#E69F00", "#56B4E9", "#000000"
GREY, PALE_GREY = "#767676", "#c8c8c8"
WIDTH = 7.0  # inches: two columns of a printed page


@dataclass(frozen=True)
class Look:
    colour: str
    marker: str
    dash: tuple[int, tuple[float, ...]]


# The looks of an experiment's cells, in their order; the baseline is first.
LOOKS = (
    Look(BLUE, "o", (0, ())),
    Look(VERMILION, "s", (0, (5, 1.5))),
    Look(GREEN, "^", (0, (1.2, 1.2))),
    Look(PURPLE, "D", (0, (5, 1.5, 1.2, 1.5))),
    Look(ORANGE, "v", (0, (8, 2))),
    Look(SKY, "P", (0, (3, 1, 1, 1, 1, 1))),
    Look(BLACK, "X", (0, (2, 2))),
)

SETTINGS = {
    "figure.dpi": 150,
    "savefig.dpi": 200,
    "savefig.bbox": "tight",
    "svg.hashsalt": "ablate",  # equal numbers give equal files
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "figure.constrained_layout.use": True,
}


def looks(cells: Iterable[str]) -> dict[str, Look]:
    """Give every cell its look by its place in the order; the colours start over with other markers and dashes."""
    return {cell: look_at(index) for index, cell in enumerate(cells)}


def look_at(index: int) -> Look:
    round_, place = divmod(index, len(LOOKS))
    other = LOOKS[(place + round_) % len(LOOKS)]
    return replace(LOOKS[place], marker=other.marker, dash=other.dash)


@contextmanager
def styled() -> Iterator[None]:
    with matplotlib.rc_context(SETTINGS):
        yield


def new_figure(columns: int, rows: int, width: float, height: float, **shared: bool | str) -> tuple[Figure, list]:
    """A figure without pyplot's global state, and its axes, row by row. Sizes in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **shared)
    return figure, list(axes.ravel())


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write ``name.png`` and ``name.svg`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.png", folder / f"{name}.svg"]
    with styled():
        figure.savefig(paths[0])
        figure.savefig(paths[1], metadata={"Date": None})
    return paths


def percent_label(share: float, _position: int | None = None) -> str:
    """A share as an axis shows it. Two ticks never get the same text: 97.5 %, and 0.1 % on a logarithmic axis."""
    return f"{100 * share:.4g}%"
