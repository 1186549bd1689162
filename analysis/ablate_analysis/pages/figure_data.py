"""The numbers behind the figures of a page; ``script/figures.js`` draws them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ablate_analysis import effects
from ablate_analysis.compare import Comparison
from ablate_analysis.curves import compute_spent, curve, curve_band
from ablate_analysis.load import Experiment
from ablate_analysis.outcomes import WARM_START
from ablate_analysis.render import difficulty_order

CURVES = {  # metric: (title, unit)
    "rollout/pass_rate": ("Pass rate of all sampled rollouts", "percent"),
    "rollout/length_mean": ("Tokens per response", "number"),
    "rollout/truncated": ("Rollouts cut off by the context", "percent"),
    "policy/clip_low": ("Tokens clipped below", "percent"),
    "policy/clip_high": ("Tokens clipped above", "percent"),
    "policy/entropy": ("Entropy (nats)", "number"),
}
MORE_CURVES = {
    "train/grad_norm": ("Gradient norm", "number"),
    "policy/mismatch_mean_abs": ("Mismatch of trainer and engine (nats)", "number"),
}


def plain(value: Any, digits: int = 5) -> float | None:
    """A number as JSON has it: rounded, None for nan and infinity."""
    number = float(value)
    return float(f"{number:.{digits}g}") if math.isfinite(number) else None


def plains(values: Sequence[Any]) -> list[float | None]:
    return [plain(value) for value in values]


def cells_of(names: Mapping[str, str]) -> list[dict[str, Any]]:
    """The cells in the order that decides their looks; the warm start has none."""
    trained = [cell for cell in names if cell != WARM_START]
    found = [{"cell": cell, "name": names[cell], "look": index} for index, cell in enumerate(trained)]
    return [*found, *([{"cell": WARM_START, "name": names[WARM_START], "look": None}] if WARM_START in names else [])]


def scores(comparison: Comparison) -> dict[str, Any]:
    """Pass@k of every cell at every context."""
    rows = [
        {"cell": row.cell, "x": int(row.context), "value": plain(row.point), "low": plain(row.low),
         "high": plain(row.high)}
        for row in comparison.frame.itertuples()
    ]  # fmt: skip
    return {"unit": "percent", "rows": rows, "xs": sorted({row["x"] for row in rows}), "x_unit": "tokens"}


def differences(comparison: Comparison) -> list[dict[str, Any]]:
    """Rows of a forest: a difference from the baseline with its interval, in points."""
    tested = comparison.frame.dropna(subset="difference").sort_values("context", kind="stable")
    return [
        {"group": f"{int(row.context):,} tokens", "cell": row.cell, "label": comparison.names[row.cell],
         "value": plain(row.difference), "low": plain(row.difference_low), "high": plain(row.difference_high)}
        for row in tested.itertuples()
    ]  # fmt: skip


def gains(comparison: Comparison) -> list[dict[str, Any]]:
    """Rows of a forest: a gain over the warm start with its interval, in points."""
    known = comparison.frame.dropna(subset="gain").sort_values("context", kind="stable")
    return [
        {"group": f"{int(row.context):,} tokens", "cell": row.cell, "label": comparison.names[row.cell],
         "value": plain(row.gain), "low": plain(row.gain_low), "high": plain(row.gain_high)}
        for row in known.itertuples()
    ]  # fmt: skip


def effect_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {"group": f"{int(row.context):,} tokens", "label": row.effect, "value": plain(row.point), "low": plain(row.low),
         "high": plain(row.high)}
        for row in frame.itertuples()
    ]  # fmt: skip


def crossed(experiment: Experiment, comparison: Comparison) -> pd.DataFrame | None:
    """The effects of a 2 x 2; None where the cells fill none."""
    keys = effects.crossed_keys(experiment)
    if keys is None or comparison.settings.baseline not in experiment.cells:
        return None
    return effects.two_by_two(comparison, effects.factor_levels(experiment, *keys), *keys)


def curves(
    metrics: pd.DataFrame,
    names: Mapping[str, str],
    window: int,
    confidence: float,
    wanted: Mapping[str, tuple[str, str]],
) -> list[dict[str, Any]]:
    """For each metric and cell: the mean over seeds, its interval, and every seed."""
    found = []
    for name, (title, unit) in wanted.items():
        smooth = curve(metrics, name, window) if name in set(metrics["name"]) else pd.DataFrame()
        if smooth.empty:
            continue
        band = curve_band(smooth, confidence)
        lines = []
        for cell in names:
            part = band[band["cell"] == cell].sort_values("step")
            seeds = smooth[smooth["cell"] == cell]
            lines.append(
                {
                    "cell": cell,
                    "x": [int(step) for step in part["step"]],
                    "value": plains(part["mean"]),
                    "low": plains(part["low"]),
                    "high": plains(part["high"]),
                    "seeds": {
                        str(seed): {"x": [int(step) for step in rows["step"]], "value": plains(rows["value"])}
                        for seed, rows in seeds.groupby("seed")
                    },
                }
            )
        found.append({"name": name, "title": title, "unit": unit, "lines": [line for line in lines if line["x"]]})
    return found


def compute(experiment: Experiment, window: int) -> list[dict[str, Any]]:
    """The pass rate of rollouts against sampled tokens and against seconds; the mean over seeds."""
    spent = curve(experiment.metrics, "rollout/pass_rate", window).merge(
        compute_spent(experiment), on=["cell", "seed", "step"]
    )
    means = spent.groupby(["cell", "step"], as_index=False)[["value", "tokens", "seconds"]].mean()
    charts = []
    for column, title in (("tokens", "sampled tokens"), ("seconds", "seconds")):
        known = means.dropna(subset=column)
        lines = [
            {"cell": cell, "x": plains(part[column]), "value": plains(part["value"])}
            for cell, part in known.groupby("cell")
        ]
        if lines:
            charts.append({"name": f"by_{column}", "title": f"Pass rate of rollouts by {title}", "unit": "percent",
                           "x_unit": title, "lines": lines})  # fmt: skip
    return charts


def decomposition(comparison: Comparison) -> list[dict[str, Any]]:
    return [
        {"cell": row.cell, "group": int(row.context), "x": plain(row.finished), "y": plain(row.passed_finished)}
        for row in comparison.frame.itertuples()
        if np.isfinite(row.passed_finished)
    ]


def by_difficulty(experiment: Experiment, comparison: Comparison) -> dict[str, Any]:
    """Pass@1 of every cell in every class of difficulty, at every context."""
    difficulty = experiment.scores.groupby("problem_id")["difficulty"].first()
    sizes = difficulty.value_counts()
    classes = sorted(sizes.index, key=difficulty_order)
    values = {}
    for arm in comparison.arms:
        rate_P = pd.Series(arm.score(1).mean(axis=0), index=list(arm.problem_ids)).groupby(difficulty).mean()
        values[arm.cell, arm.context] = [rate_P.get(name, math.nan) for name in classes]
    return {"classes": [(name, int(sizes[name])) for name in classes], "values": values}
