"""One figure of many objectives on the same rollouts: whose gradients agree, and where each one goes.

Rows and columns are in the order of a clustering, so that relatives stand together. It reads ``laboratory.parquet``
(docs/laboratory.md) and takes means over its checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ablate.laboratory import AS_CONFIGURED
from ablate_analysis.style import BLUE, GREY, VERMILION, percent_label, styled

# (title of the column, the measures in the order of preference); shares by length are summed over the longer half
SIDES = (
    ("push on length", ("length_cosine_parameters", "length_cosine_logp")),
    ("mass, longer half", ("mass_by_length",)),
    ("tokens that train", ("tokens_that_train",)),
)


def objective_map(rows: pd.DataFrame, names: Mapping[str, str]) -> Figure:
    """The cosine matrix of all objectives, with three numbers of each one next to its row."""
    plain = rows[rows["toggle"] == AS_CONFIGURED]
    space = next(space for space in ("cosine_parameters", "cosine_logp") if (plain["measure"] == space).any())
    part = plain[plain["measure"] == space]
    cosines = part.pivot_table(index="objective", columns="bucket", values="value").reindex(
        list(names), columns=list(names)
    )
    values = cosines.to_numpy(copy=True)
    np.fill_diagonal(values, 1.0)
    order = clustered(values)
    ordered = [list(names)[index] for index in order]
    with styled():
        side = 0.185 * len(names)
        figure = Figure(figsize=(side + 4.6, side + 1.9), layout="constrained")
        grid = figure.add_gridspec(1, 1 + len(SIDES), width_ratios=[side, *[0.85] * len(SIDES)])
        matrix = figure.add_subplot(grid[0])
        bounds = {"vmin": -1, "vmax": 1, "cmap": "RdBu_r"} if np.nanmin(values) < 0 else {"vmin": 0, "cmap": "Blues"}
        image = matrix.imshow(values[np.ix_(order, order)], **bounds)
        matrix.grid(False)
        labels = [names[name] for name in ordered]
        matrix.set_xticks(range(len(order)), labels, rotation=90, fontsize=7)
        matrix.set_yticks(range(len(order)), labels, fontsize=7)
        for column, (title, measures) in enumerate(SIDES, start=1):
            axis = figure.add_subplot(grid[column])
            draw_side(axis, numbers_of(plain, measures).reindex(ordered), title)
        figure.colorbar(image, ax=matrix, location="bottom", shrink=0.5, aspect=40, label="cosine of two gradients")
        where = "parameter space" if space == "cosine_parameters" else "log-probability space"
        figure.suptitle(f"{len(names)} objectives, the same rollouts ({where})", x=0.01, ha="left", fontsize=10)
    return figure


def clustered(cosines: np.ndarray) -> list[int]:
    """An order in which objectives with similar gradients stand next to each other (average linkage of 1 - cosine)."""
    from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
    from scipy.spatial.distance import squareform

    distance = 1.0 - np.nan_to_num(cosines)  # an undefined cosine, with a gradient of 0, counts as a right angle
    np.fill_diagonal(distance, 0.0)
    condensed = squareform((distance + distance.T) / 2, checks=False).clip(min=0.0)
    return leaves_list(optimal_leaf_ordering(linkage(condensed, "average"), condensed)).tolist()


def numbers_of(plain: pd.DataFrame, measures: tuple[str, ...]) -> pd.Series:
    """One number per objective: the mean over checkpoints of the first measure that is there."""
    found = next((plain[plain["measure"] == name] for name in measures if (plain["measure"] == name).any()), None)
    if found is None:
        return pd.Series(dtype=float)
    place = ["objective", "checkpoint", "step"]
    rank = found.groupby(place, sort=False).cumcount()
    count = found.groupby(place, sort=False)["value"].transform("size")
    return found[rank >= count // 2].groupby(place)["value"].sum().groupby("objective").mean()


def draw_side(axis, values: pd.Series, title: str) -> None:
    places = np.arange(len(values))
    axis.barh(places, values, height=0.7, color=[VERMILION if value < 0 else BLUE for value in values])
    axis.set_ylim(len(values) - 0.5, -0.5)
    axis.set_yticks([])
    axis.axvline(0.0, color=GREY, linewidth=0.8)
    axis.set_title(title, fontsize=7.5)
    axis.tick_params(axis="x", labelsize=6.5)
    if not (values < 0).any():
        axis.set_xlim(0, 1)
        axis.xaxis.set_major_formatter(percent_label)
