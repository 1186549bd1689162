"""Scores seen from other sides: pass@k as a curve, the score at an equal token budget, and before and after a month."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ablate.errors import UserError
from ablate_analysis import stats
from ablate_analysis.compare import Comparison
from ablate_analysis.load import Experiment
from ablate_analysis.outcomes import WARM_START, Arm
from ablate_analysis.render import Table
from ablate_analysis.results import curve_text
from ablate_analysis.results.curves import Curve, our_run
from ablate_analysis.results.curves import tokens_by_step as tokens_of
from ablate_analysis.tables import points, with_interval

FEWEST_EVALUATIONS = 6  # of a run whose learning curve is fitted


def pass_at_k_table(comparison: Comparison) -> Table | None:
    """pass@k of every cell and of the warm start at k = 1, 2, 4, ..., with intervals over problems and seeds."""
    most = min(arm.passed_SPN.shape[2] for arm in comparison.arms)
    if most < 2 or not all(arm.verified_SPN.all() for arm in comparison.arms):
        return None
    ks = [k for k in (1, 2, 4, 8, 16, 32, 64) if k < most] + [most]
    rng = np.random.default_rng(comparison.settings.seed)
    weight_RP = stats.problem_weights(len(comparison.arms[0].problem_ids), comparison.settings.resamples, rng)
    rows = []
    for arm in sorted(comparison.arms, key=lambda arm: (arm.context, list(comparison.names).index(arm.cell))):
        trained = [each for each in comparison.arms if each.context == arm.context and each.cell != WARM_START]
        cells = [interval_at(arm, trained, k, comparison, weight_RP, rng) for k in ks]
        rows.append((comparison.names[arm.cell], f"{arm.context:,}", *cells))
    note = "Unbiased estimates, in percent. Training that only sharpens raises pass@1 and not pass@k."
    return Table("pass_at_k", "pass@k", ("", "context", *(f"k = {k}" for k in ks)), tuple(rows), note)


def interval_at(
    arm: Arm, trained: Sequence[Arm], k: int, comparison: Comparison, weight_RP: stats.Array, rng: np.random.Generator
) -> str:
    score_SP = arm.score(k)
    if score_SP.mean() in (0.0, 1.0):
        size = stats.unanimous_interval(float(score_SP.mean()), score_SP.shape[1], comparison.settings.confidence)
    else:
        is_warm = arm.cell == WARM_START
        seeds = stats.SeedVariance(0.0, 0) if is_warm else stats.seed_variance([each.score(k) for each in trained])
        resampled_R = stats.mean_resamples(score_SP, weight_RP, seeds, rng)
        size = stats.interval(score_SP.mean(), resampled_R, comparison.settings.confidence, (0.0, 1.0))
    return with_interval(size.point, size.low, size.high)


def curves_of(experiment: Experiment, context: int, axis: str) -> dict[str, list[Curve]]:
    """Pass@1 at a context over an axis, by the printed name of the cell; runs without such evaluations are left out."""
    found: dict[str, list[Curve]] = {}
    for cell, name in experiment.names.items():
        for run in experiment.runs_of(cell):
            try:
                curve = our_run(run.directory.path, run.name, f"eval/pass@1/{context}", axis)
            except (UserError, KeyError):  # an old run without this evaluation or without counts of tokens
                continue
            found.setdefault(name, []).append(curve)
    return found


def equal_tokens_table(experiment: Experiment, comparison: Comparison) -> Table | None:
    """Pass@1 at the token budget of the cheapest run, between the two evaluations around it."""
    contexts = sorted({arm.context for arm in comparison.arms})
    totals = {run.name: max(tokens_of(run.directory.path, run.directory.steps.metrics()).values(), default=0.0)
              for run in experiment.runs}  # fmt: skip
    budget = min(totals.values(), default=0.0)
    if budget <= 0 or max(totals.values()) < 1.02 * budget:
        return None
    rows = []
    for context in contexts:
        for name, curves in curves_of(experiment, context, "tokens").items():
            at = [float(np.interp(budget, curve.compute, curve.score)) for curve in curves if len(curve.compute) > 2]
            if at:
                end = float(np.mean([curve.score[-1] for curve in curves]))
                spent = np.mean([curve.compute[-1] for curve in curves])
                rows.append((name, f"{context:,}", points(float(np.mean(at))), points(end), f"{spent / 1e6:.2f}"))
    note = (
        f"At {budget / 1e6:.2f} million sampled response tokens, which the cheapest run took; between two evaluations "
        "the score is interpolated. No interval: it is a point between points."
    )
    header = ("", "context", "Pass@1 at\nequal tokens", "Pass@1\nat the end", "million tokens\nat the end")
    return Table("equal_tokens", "Score at an equal token budget", header, tuple(rows), note) if rows else None


def fits_table(experiment: Experiment, comparison: Comparison) -> Table | None:
    """Fitted learning curves at the shortest context, where runs were evaluated often enough."""
    context = min(arm.context for arm in comparison.arms)
    arms = {name: [curve for curve in curves if len(curve.score) >= FEWEST_EVALUATIONS]
            for name, curves in curves_of(experiment, context, "steps").items()}  # fmt: skip
    arms = {name: curves for name, curves in arms.items() if curves}
    if not arms:
        return None
    fits = {name: [curve_text.fit_of(name, curve, None, None) for curve in curves] for name, curves in arms.items()}
    made = curve_text.run_table(arms, fits, "steps")
    return Table("learning_curve_fits", f"Fitted learning curves, {context:,} tokens", made.head, made.rows, made.note)


def months_table(comparison: Comparison, scores: pd.DataFrame, split: str | None) -> Table | None:
    """The difference from the baseline on problems before ``split`` (YYYY-MM) and from it on, and its change.

    A model that has seen the older problems gains on those only.
    """
    if split is None or "month" not in scores or scores["month"].isna().all():
        return None
    month = scores.dropna(subset="month").groupby("problem_id")["month"].first()
    rows = []
    for context in sorted({arm.context for arm in comparison.arms}):
        arms = {arm.cell: arm for arm in comparison.arms if arm.context == context and arm.cell != WARM_START}
        base = arms.get(comparison.settings.baseline)
        for cell, arm in arms.items():
            if base is None or arm is base or base.problem_ids != arm.problem_ids:
                continue
            gap_P = arm.score(1).mean(axis=0) - base.score(1).mean(axis=0)
            is_new_P = np.array([month.get(name, "") >= split for name in arm.problem_ids])
            if is_new_P.all() or not is_new_P.any():
                continue
            rows.append((comparison.names[cell], f"{context:,}", *changes(gap_P, is_new_P, comparison)))
    header = ("", "context", f"before {split}", f"from {split} on", "change")
    note = f"Points of difference from {comparison.baseline_name}; intervals over problems, of these same runs."
    return Table("months", f"Before and after {split}", header, tuple(rows), note) if rows else None


def changes(gap_P: stats.Array, is_new_P: np.ndarray, comparison: Comparison) -> list[str]:
    rng = np.random.default_rng(comparison.settings.seed)
    drawn = []
    for here_P in (~is_new_P, is_new_P):
        weight_RP = stats.problem_weights(int(here_P.sum()), comparison.settings.resamples, rng)
        drawn.append((float(gap_P[here_P].mean()), weight_RP @ gap_P[here_P]))
    drawn.append((drawn[1][0] - drawn[0][0], drawn[1][1] - drawn[0][1]))
    sizes = [stats.interval(point, value_R, comparison.settings.confidence, (-2.0, 2.0)) for point, value_R in drawn]
    return [with_interval(size.point, size.low, size.high, signed=True) for size in sizes]
