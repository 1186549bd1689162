"""A 2 x 2 of cells: main effects and interaction, with intervals over the same problems and seeds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ablate.errors import UserError
from analysis import stats
from analysis.arms import Arm
from analysis.compare import Comparison
from analysis.load import Experiment

RATIO, WEIGHT = "objective.ratio", "objective.weight"


def is_two_by_two(experiment: Experiment) -> bool:
    """Does the experiment cross the ratio with the weight?"""
    return {RATIO, WEIGHT} <= set(experiment.factors) and len(experiment.cells) == 4


def factor_levels(experiment: Experiment, first: str, second: str) -> pd.DataFrame:
    """Return cell, <first>, <second>: the settings of two keys in every cell.

    Raises:
        UserError: unless the cells are a full 2 x 2 of them.
    """
    rows = [{"cell": run.cell, **{key: run.settings.get(key) for key in (first, second)}} for run in experiment.runs]
    return checked_two_by_two(experiment.name, pd.DataFrame(rows).drop_duplicates().reset_index(drop=True))


def checked_two_by_two(name: str, cells: pd.DataFrame) -> pd.DataFrame:
    first, second = cells.columns[1:]
    crossed = len(cells.drop_duplicates([first, second])) == 4
    if len(cells) != 4 or not crossed or cells[first].nunique() != 2:
        raise UserError(f"{name}: {first} and {second} do not make a 2 x 2 of its {len(cells)} cells")
    return cells


def two_by_two(comparison: Comparison, cells: pd.DataFrame, first: str, second: str) -> pd.DataFrame:
    """Return context, effect, point, low, high, probability: two main effects and the interaction at each context.

    With a0, b0 the baseline's levels of ``first`` and ``second`` and a1, b1 the other ones, the main effect of
    ``first`` is ``[(a1 b0 - a0 b0) + (a1 b1 - a0 b1)] / 2`` and the interaction ``(a1 b1 - a0 b1) - (a1 b0 - a0 b0)``.

    Raises:
        UserError: if the baseline is not one of the cells.
    """
    base = cells[cells["cell"] == comparison.settings.baseline]
    if base.empty:
        raise UserError(f"comparison.baseline={comparison.settings.baseline} is none of {', '.join(cells['cell'])}")
    low = base.iloc[0]
    high = {key: next(level for level in cells[key] if level != low[key]) for key in (first, second)}
    signs = cells[[first, second]].eq(pd.Series(high)).map(lambda is_high: 1.0 if is_high else -1.0)
    sign = dict(zip(cells["cell"], signs.to_numpy(), strict=True))
    names = [f"{key.rsplit('.')[-1]}: {high[key]} - {low[key]}" for key in (first, second)]
    rows = []
    for context in sorted({arm.context for arm in comparison.arms if arm.cell in sign}):
        arms = [arm for arm in comparison.arms if arm.context == context and arm.cell in sign]
        effects = {
            names[0]: {cell: a / 2 for cell, (a, _) in sign.items()},
            names[1]: {cell: b / 2 for cell, (_, b) in sign.items()},
            "interaction": {cell: a * b for cell, (a, b) in sign.items()},
        }
        rows += [contrast(arms, name, weights, comparison) for name, weights in effects.items()]
    return pd.DataFrame(rows)


def contrast(arms: list[Arm], name: str, weights: Mapping[str, float], comparison: Comparison) -> dict[str, object]:
    """A weighted sum of the arms' scores, over the seeds that all of them have."""
    settings = comparison.settings
    shared = sorted(set.intersection(*(set(arm.seeds) for arm in arms)))
    if not shared:
        raise UserError("the cells of the 2 x 2 share no seed: run them with the same seeds")
    taken = [arm.take([arm.seeds.index(seed) for seed in shared]) for arm in arms]
    score_ASP = np.stack([arm.score(settings.pass_at) for arm in taken])
    coefficient_A = np.array([weights[arm.cell] for arm in taken])
    rng = np.random.default_rng(settings.seed)
    weight_RP = stats.problem_weights(score_ASP.shape[2], settings.resamples, rng)
    seeds = stats.matched_seed_variance(score_ASP.mean(axis=2))
    resampled_R = stats.contrast_resamples(score_ASP, coefficient_A, weight_RP, seeds, rng)
    point = float(coefficient_A @ score_ASP.mean(axis=(1, 2)))
    size = stats.interval(point, resampled_R, settings.confidence, (-2.0, 2.0))
    better = stats.probability_of_improvement(resampled_R)
    return {"context": arms[0].context, "effect": name, "point": size.point, "low": size.low, "high": size.high,
            "probability": better}  # fmt: skip


def levels_by_part(experiment: Experiment) -> pd.DataFrame:
    """Return cell, ratio, weight: the parts that fill the two slots of every cell's objective.

    GRPO, DAPO, GSPO and GSPO+ are a 2 x 2 of them too, but there the cells differ in more than the two parts.

    Raises:
        UserError: unless the cells are a full 2 x 2 of them.
    """
    from ablate import objectives

    rows = []
    for cell in experiment.cells:
        names = objectives.build(experiment.runs_of(cell)[0].config["objective"]).part_names
        rows.append({"cell": cell, "ratio": names["ratio"], "weight": names["weight"]})
    return checked_two_by_two(experiment.name, pd.DataFrame(rows))
