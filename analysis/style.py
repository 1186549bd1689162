"""One look for every figure: a colour, marker and dash fixed per objective, fit for print and for the colour-blind."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

# Okabe and Ito's palette (Color Universal Design, 2008) without its yellow, which vanishes on white paper. Markers and
# dashes differ as well, so that nothing is told by colour alone.
BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, BLACK, GREY = "#E69F00", "#56B4E9", "#000000", "#767676"


@dataclass(frozen=True)
class Look:
    colour: str
    marker: str
    dash: tuple[int, tuple[float, ...]]


OBJECTIVES = {
    "grpo": Look(BLUE, "o", (0, ())),
    "dapo": Look(VERMILION, "s", (0, (5, 1.5))),
    "gspo": Look(GREEN, "^", (0, (1.2, 1.2))),
    "gspo_plus": Look(PURPLE, "D", (0, (5, 1.5, 1.2, 1.5))),
}
SPARE = (
    Look(BLUE, "o", (0, ())),
    Look(VERMILION, "s", (0, (5, 1.5))),
    Look(GREEN, "^", (0, (1.2, 1.2))),
    Look(PURPLE, "D", (0, (5, 1.5, 1.2, 1.5))),
    Look(ORANGE, "v", (0, (8, 2))),
    Look(SKY, "P", (0, (3, 1, 1, 1, 1, 1))),
    Look(BLACK, "X", (0, (2, 2))),
)
LABELS = {"grpo": "GRPO", "dapo": "DAPO", "gspo": "GSPO", "gspo_plus": "GSPO+", "warm start": "Warm start"}

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


def label(cell: str) -> str:
    """A cell's name as it is printed: ``gspo_plus-steps=2`` is "GSPO+, steps=2"."""
    parts = re.split(r"-(?=[a-z])", cell)  # not the minus of 1e-05
    return ", ".join(LABELS.get(part, part.replace("_", " ")) for part in parts)


def looks(cells: Sequence[str]) -> dict[str, Look]:
    """Give every cell its look: an objective its own, whatever it is shown with; other cells in their order."""
    spare = iter([look for look in SPARE if look not in [OBJECTIVES[cell] for cell in cells if cell in OBJECTIVES]] * 9)
    return {cell: OBJECTIVES[cell] if cell in OBJECTIVES else next(spare) for cell in cells}


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
    """A share as an axis shows it, never rounded to another tick's: 97.5 %, and 0.1 % where the axis is logarithmic."""
    return f"{100 * share:.4g}%"
