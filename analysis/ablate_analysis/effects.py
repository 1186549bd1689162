"""A 2 x 2 of cells: main effects and interaction, with intervals over the same problems and seeds."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd

from ablate.errors import UserError
from ablate_analysis import stats
from ablate_analysis.compare import Comparison
from ablate_analysis.load import Experiment, is_under, swept_keys
from ablate_analysis.outcomes import Arm

KNOWN_PAIR = ("objective.ratio", "objective.weight")  # the parts whose recombination the four objectives are


def crossed_keys(experiment: Experiment) -> tuple[str, str] | None:
    """The first two keys in which the experiment's four cells are a full 2 x 2; None without such a pair.

    Declared keys come first, then the keys below a declared section. A key that changes together with another one, as
    the clip range does with the ratio, forms no pair with it.
    """
    if len(experiment.cells) != 4:
        return None
    swept = [key for key in swept_keys(experiment.runs) if is_under(key, experiment.factors)]
    declared = [key for key in experiment.factors if key in swept]
    for keys in (declared, [key for key in KNOWN_PAIR if key in swept], swept):
        for first, second in combinations(keys, 2):
            if is_two_by_two(levels(experiment, first, second)):
                return first, second
    return None


def also_changed(experiment: Experiment, first: str, second: str) -> tuple[list[str], list[str]]:
    """Other keys in which the cells of a 2 x 2 differ: those that follow one of its factors, and all others.

    A key that follows neither factor is part of every effect: the effects are then not of the two factors alone.
    """
    follow, others = [], []
    for key in swept_keys(experiment.runs):
        if key in (first, second) or not is_under(key, experiment.factors):
            continue
        values = [{repr(run.settings.get(factor)): repr(run.settings.get(key)) for run in experiment.runs}
                  for factor in (first, second)]  # fmt: skip
        follows = any(
            all(value[repr(run.settings.get(factor))] == repr(run.settings.get(key)) for run in experiment.runs)
            for factor, value in zip((first, second), values, strict=True)
        )
        (follow if follows else others).append(key)
    return follow, others


def effects_note(experiment: Experiment, first: str, second: str) -> str:
    follow, others = also_changed(experiment, first, second)
    said = "Points. A main effect is the mean over the other factor's levels; the interaction is how much they differ."
    if follow:
        said += f" {', '.join(map(short_name, follow))}: changed together with one of the factors."
    if others:
        said += f" {', '.join(map(short_name, others))}: changed in some of the cells, so the effects contain it."
    return said


def levels(experiment: Experiment, first: str, second: str) -> pd.DataFrame:
    rows = [{"cell": run.cell, **{key: run.settings.get(key) for key in (first, second)}} for run in experiment.runs]
    return pd.DataFrame(rows).drop_duplicates().reset_index(drop=True)


def is_two_by_two(cells: pd.DataFrame) -> bool:
    _, first, second = cells.columns
    crossed = len(cells.drop_duplicates([first, second])) == 4
    return len(cells) == 4 and crossed and cells[first].nunique() == cells[second].nunique() == 2


def factor_levels(experiment: Experiment, first: str, second: str) -> pd.DataFrame:
    """Return cell, <first>, <second>: the recorded values of two keys in every cell.

    Raises:
        UserError: unless the cells are a full 2 x 2 of these keys.
    """
    cells = levels(experiment, first, second)
    if not is_two_by_two(cells):
        raise UserError(f"{experiment.name}: its {len(cells)} cells are not a 2 x 2 of {first} and {second}")
    return cells


def short_name(key: str) -> str:
    return key.rsplit(".")[-1]


def two_by_two(comparison: Comparison, cells: pd.DataFrame, first: str, second: str) -> pd.DataFrame:
    """Return context, effect, point, low, high, probability: two main effects and the interaction at each context.

    Let a0, b0 be the baseline's levels of ``first`` and ``second`` and a1, b1 the other levels. The main effect of
    ``first`` is ``[(a1 b0 - a0 b0) + (a1 b1 - a0 b1)] / 2`` and the interaction ``(a1 b1 - a0 b1) - (a1 b0 - a0 b0)``.

    Raises:
        UserError: if the baseline is not one of the cells.
    """
    base = cells[cells["cell"] == comparison.settings.baseline]
    if base.empty:
        raise UserError(f"comparison.baseline={comparison.settings.baseline} is not one of {', '.join(cells['cell'])}")
    low = base.iloc[0]
    high = {key: next(level for level in cells[key] if level != low[key]) for key in (first, second)}
    signs = cells[[first, second]].eq(pd.Series(high)).map(lambda is_high: 1.0 if is_high else -1.0)
    sign = dict(zip(cells["cell"], signs.to_numpy(), strict=True))
    names = [f"{short_name(key)}: {high[key]} - {low[key]}" for key in (first, second)]
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
