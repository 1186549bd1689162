"""Arms against a baseline: the frame behind every table and every figure of scores.

An arm is one cell at one evaluation context, after training; the warm start is one more arm. All shares are 0 to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ablate.errors import UserError
from analysis import power, stats
from analysis.arms import WARM_START, Arm, arms_after_training, check_problems, matched_arms, warm_start_arms
from analysis.load import Experiment, wide_metrics


@dataclass(frozen=True)
class Settings:
    """How a comparison is made; the values stand in conf/report.yaml."""

    baseline: str
    resamples: int
    confidence: float  # of every interval
    power: float  # of the planned experiment
    seed: int  # of the resampling
    pass_at: int  # k of pass@k


@dataclass(frozen=True)
class Comparison:
    """The rows of the tables, the arms behind them, and the variance of a difference at each context."""

    settings: Settings
    frame: pd.DataFrame
    arms: tuple[Arm, ...]
    designs: dict[int, power.DifferenceVariance]  # by context; only where two arms share a seed


def compare(experiment: Experiment, settings: Settings) -> Comparison:
    """Score every arm and hold it against the baseline at the same context.

    Columns of ``frame``: cell, context, num_seeds, num_problems, num_samples, point, low, high,
    gain, gain_low, gain_high (over the warm start, on the same problems; NaN without one), difference, difference_low,
    difference_high, probability, p, p_holm (to the baseline; NaN for itself and without matched seeds), num_matched,
    num_unjudged, finished, passed_finished, passed_unfinished (shares of the judged), clip_is_live, runs.
    """
    trained = arms_after_training(experiment.scores)
    if not trained:
        raise UserError(
            f"{experiment.path}: no run was evaluated after training: set eval.at_end=true and run it again"
        )
    arms = [*warm_start_arms(experiment.scores), *trained]
    check_problems(arms)
    rng = np.random.default_rng(settings.seed)
    weight_RP = stats.problem_weights(len(arms[0].problem_ids), settings.resamples, rng)
    rows, designs = [], {}
    for context in sorted({arm.context for arm in trained}):
        here = [arm for arm in arms if arm.context == context]
        rows += rows_at(here, weight_RP, settings, rng)
        matched = matched_arms([arm for arm in here if arm.cell != WARM_START], settings.baseline)
        if len(matched) > 1:
            rate_ASP = np.stack([arm.score(1) for arm in matched])
            designs[context] = power.difference_variance(rate_ASP, matched[0].passed_SPN.shape[2])
    frame = pd.DataFrame(rows)
    frame["p_holm"] = np.nan
    tested = frame["p"].notna()
    frame.loc[tested, "p_holm"] = stats.holm(frame.loc[tested, "p"].tolist())
    live = clip_liveness(experiment)
    frame["clip_is_live"] = frame["cell"].map(live)
    return Comparison(settings, order(frame, experiment.cells), tuple(arms), designs)


def order(frame: pd.DataFrame, cells: Sequence[str]) -> pd.DataFrame:
    rank = {cell: index for index, cell in enumerate([WARM_START, *cells])}
    keys = frame["cell"].map(rank)
    return frame.assign(rank=keys).sort_values(["rank", "context"]).drop(columns="rank").reset_index(drop=True)


def rows_at(
    arms: Sequence[Arm], weight_RP: stats.Array, settings: Settings, rng: np.random.Generator
) -> list[dict[str, object]]:
    """Rows of the frame for the arms of one context."""
    trained = [arm for arm in arms if arm.cell != WARM_START]
    start = next((arm for arm in arms if arm.cell == WARM_START), None)
    table = {arm.cell: arm.score(settings.pass_at) for arm in arms}
    spread = stats.seed_variance([table[arm.cell] for arm in trained])
    single = stats.SeedVariance(0.0, 0)  # the warm start is one model, however many runs began with it
    rows = []
    for arm in arms:
        seeds = single if arm.cell == WARM_START else spread
        begin_SP = None if start is None or arm is start else table[WARM_START]
        rows.append(
            outcome_shares(arm)
            | score_columns(table[arm.cell], weight_RP, seeds, settings, rng)
            | gain_columns(table[arm.cell], begin_SP, weight_RP, seeds, settings, rng)
            | difference_columns(arm, trained, weight_RP, settings, rng)
        )
    return rows


def outcome_shares(arm: Arm) -> dict[str, object]:
    finished, num_judged = arm.finished_SPN.sum(), arm.judged_SPN.sum()
    return {
        "cell": arm.cell,
        "context": arm.context,
        "num_seeds": len(arm.seeds),
        "num_problems": arm.passed_SPN.shape[1],
        "num_samples": arm.passed_SPN.shape[2],
        "num_unjudged": int((~arm.judged_SPN).sum()),
        "finished": finished / num_judged,
        "passed_finished": (arm.passed_SPN & arm.finished_SPN).sum() / finished if finished else np.nan,
        "passed_unfinished": (arm.passed_SPN & ~arm.finished_SPN).sum() / num_judged,
        "runs": arm.runs,
    }


def score_columns(
    score_SP: stats.Array,
    weight_RP: stats.Array,
    seeds: stats.SeedVariance,
    settings: Settings,
    rng: np.random.Generator,
) -> dict[str, float]:
    resampled_R = stats.mean_resamples(score_SP, weight_RP, seeds, rng)
    if score_SP.mean() in (0.0, 1.0):
        score = stats.unanimous_interval(float(score_SP.mean()), score_SP.shape[1], settings.confidence)
    else:
        score = stats.interval(score_SP.mean(), resampled_R, settings.confidence, (0.0, 1.0))
    return {"point": score.point, "low": score.low, "high": score.high}


def gain_columns(
    score_SP: stats.Array,
    start_SP: stats.Array | None,
    weight_RP: stats.Array,
    seeds: stats.SeedVariance,
    settings: Settings,
    rng: np.random.Generator,
) -> dict[str, float]:
    """The gain over the warm start on the same problems."""
    if start_SP is None:
        return dict.fromkeys(("gain", "gain_low", "gain_high"), np.nan)
    gain_SP = score_SP - start_SP.mean(axis=0)
    resampled_R = stats.mean_resamples(gain_SP, weight_RP, seeds, rng)
    gain = stats.interval(gain_SP.mean(), resampled_R, settings.confidence, (-1.0, 1.0))
    return {"gain": gain.point, "gain_low": gain.low, "gain_high": gain.high}


def difference_columns(
    arm: Arm, trained: Sequence[Arm], weight_RP: stats.Array, settings: Settings, rng: np.random.Generator
) -> dict[str, object]:
    """The paired difference to the baseline, over the seeds that both arms have."""
    matched = {other.cell: other for other in matched_arms(trained, settings.baseline)}
    if arm.cell == settings.baseline or arm.cell not in matched or settings.baseline not in matched:
        nothing = ("difference", "difference_low", "difference_high", "probability", "p")
        return {**dict.fromkeys(nothing, np.nan), "num_matched": 0}
    score_ASP = np.stack([matched[cell].score(settings.pass_at) for cell in (arm.cell, settings.baseline)])
    all_ASP = np.stack([other.score(settings.pass_at) for other in matched.values()])
    seeds = stats.matched_seed_variance(all_ASP.mean(axis=2))
    resampled_R = stats.contrast_resamples(score_ASP, np.array([1.0, -1.0]), weight_RP, seeds, rng)
    gap = stats.interval((score_ASP[0] - score_ASP[1]).mean(), resampled_R, settings.confidence, (-1.0, 1.0))
    return {
        "difference": gap.point,
        "difference_low": gap.low,
        "difference_high": gap.high,
        "probability": stats.probability_of_improvement(resampled_R),
        "p": stats.two_sided_p(resampled_R),
        "num_matched": score_ASP.shape[1],
    }


def clip_liveness(experiment: Experiment) -> dict[str, bool]:
    """Cell -> did the policy ever leave the old one within a rollout batch, in any of its runs?"""
    wide = wide_metrics(experiment.metrics, ["policy/clip_is_live"])
    logged = wide.dropna(subset="policy/clip_is_live")
    return (logged.groupby("cell")["policy/clip_is_live"].max() > 0).to_dict()
