"""Arms compared with a baseline: the frame behind every table and every figure of scores.

An arm is one cell at one evaluation context, after training; the warm start is one more arm. All shares are 0 to 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from ablate.errors import UserError
from ablate_analysis import power, stats
from ablate_analysis.load import Experiment, wide_metrics
from ablate_analysis.outcomes import WARM_START, Arm, arms_after_training, check_problems, matched_arms, warm_start_arms


@dataclass(frozen=True)
class Settings:
    """How a comparison is made; conf/report.yaml holds the values."""

    baseline: str
    resamples: int
    confidence: float  # of every interval
    power: float  # of the planned experiment
    seed: int  # of the resampling
    pass_at: int  # k of pass@k
    min_seeds: int  # with fewer matched seeds no arm is compared with the baseline


@dataclass(frozen=True)
class Row:
    """One arm: the columns of ``Comparison.frame``.

    The gain is over the warm start on the same problems (NaN without one). The difference is from the baseline, paired
    over problems and matched seeds (NaN for the baseline itself, and without matched seeds).
    """

    cell: str
    context: int
    num_seeds: int
    num_problems: int
    num_samples: int
    num_without_verdict: int
    finished: float  # share of the verified samples
    passed_finished: float  # share of the finished samples
    passed_unfinished: float  # share of the verified samples
    runs: tuple[str, ...]
    point: float  # pass@k
    low: float
    high: float
    gain: float
    gain_low: float
    gain_high: float
    difference: float
    difference_low: float
    difference_high: float
    probability: float  # of improvement: share of the resampled differences above 0
    p: float
    num_matched: int
    clip_is_live: bool | float  # NaN: not logged


@dataclass(frozen=True)
class Comparison:
    """The rows of the tables, the arms behind them, and the variance of a difference at each context."""

    settings: Settings
    frame: pd.DataFrame  # one ``Row`` per line, and p_holm: p adjusted for every difference in the frame
    arms: tuple[Arm, ...]
    designs: dict[int, power.DifferenceVariance]  # by context; only where two arms share a seed
    names: Mapping[str, str]  # cell -> its printed name, in the order of the tables

    @property
    def baseline_name(self) -> str:
        return self.names.get(self.settings.baseline, self.settings.baseline)


def compare(experiment: Experiment, settings: Settings) -> Comparison:
    """Score every arm, and compare it with the baseline at the same context.

    Raises:
        UserError: if no run was evaluated after training, or not all of them on the same problems and samples.
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
    live = clip_liveness(experiment)
    rows, designs = [], {}
    for context in sorted({arm.context for arm in trained}):
        here = AtOneContext([arm for arm in arms if arm.context == context], settings, weight_RP, rng)
        rows += [here.row(arm, live.get(arm.cell, np.nan)) for arm in here.arms]
        if len(here.matched) > 1:
            rate_ASP = np.stack([arm.score(1) for arm in here.matched])
            designs[context] = power.difference_variance(rate_ASP, here.matched[0].passed_SPN.shape[2])
    frame = pd.DataFrame([asdict(row) for row in rows])
    frame["p_holm"] = np.nan
    tested = frame["p"].notna()
    frame.loc[tested, "p_holm"] = stats.holm(frame.loc[tested, "p"].tolist())
    names = {WARM_START: "Warm start", **experiment.names}
    return Comparison(settings, order(frame, list(names)), tuple(arms), designs, names)


def order(frame: pd.DataFrame, cells: Sequence[str]) -> pd.DataFrame:
    rank = {cell: index for index, cell in enumerate(cells)}
    keys = frame["cell"].map(rank)
    return frame.assign(rank=keys).sort_values(["rank", "context"]).drop(columns="rank").reset_index(drop=True)


class AtOneContext:
    """The arms of one context, and the resampling that all their intervals share."""

    def __init__(
        self, arms: Sequence[Arm], settings: Settings, weight_RP: stats.Array, rng: np.random.Generator
    ) -> None:
        trained = [arm for arm in arms if arm.cell != WARM_START]
        self.arms, self.settings, self.weight_RP, self.rng = arms, settings, weight_RP, rng
        self.score = {arm.cell: arm.score(settings.pass_at) for arm in arms}
        self.seeds = stats.seed_variance([self.score[arm.cell] for arm in trained])
        matched = matched_arms(trained, settings.baseline)
        self.matched = matched if matched and len(matched[0].seeds) >= settings.min_seeds else []

    def row(self, arm: Arm, clip_is_live: bool | float) -> Row:
        finished, num_verified = arm.finished_SPN.sum(), arm.verified_SPN.sum()
        score, gain = self.mean(arm), self.gain(arm)
        return Row(
            cell=arm.cell,
            context=arm.context,
            num_seeds=len(arm.seeds),
            num_problems=arm.passed_SPN.shape[1],
            num_samples=arm.passed_SPN.shape[2],
            num_without_verdict=int((~arm.verified_SPN).sum()),
            finished=finished / num_verified,
            passed_finished=(arm.passed_SPN & arm.finished_SPN).sum() / finished if finished else np.nan,
            passed_unfinished=(arm.passed_SPN & ~arm.finished_SPN).sum() / num_verified,
            runs=arm.runs,
            point=score.point,
            low=score.low,
            high=score.high,
            gain=gain.point,
            gain_low=gain.low,
            gain_high=gain.high,
            clip_is_live=clip_is_live,
            **self.difference(arm),
        )

    def seeds_of(self, arm: Arm) -> stats.SeedVariance:
        """The seed variance of an arm; it is 0 for the warm start, one model however many runs began with it."""
        return stats.SeedVariance(0.0, 0) if arm.cell == WARM_START else self.seeds

    def mean(self, arm: Arm) -> stats.Interval:
        score_SP = self.score[arm.cell]
        resampled_R = stats.mean_resamples(score_SP, self.weight_RP, self.seeds_of(arm), self.rng)
        if score_SP.mean() in (0.0, 1.0):
            return stats.unanimous_interval(float(score_SP.mean()), score_SP.shape[1], self.settings.confidence)
        return stats.interval(score_SP.mean(), resampled_R, self.settings.confidence, (0.0, 1.0))

    def gain(self, arm: Arm) -> stats.Interval:
        """The gain over the warm start on the same problems."""
        if arm.cell == WARM_START or WARM_START not in self.score:
            return stats.Interval(np.nan, np.nan, np.nan)
        gain_SP = self.score[arm.cell] - self.score[WARM_START].mean(axis=0)
        resampled_R = stats.mean_resamples(gain_SP, self.weight_RP, self.seeds_of(arm), self.rng)
        return stats.interval(gain_SP.mean(), resampled_R, self.settings.confidence, (-1.0, 1.0))

    def difference(self, arm: Arm) -> dict[str, float]:
        """The columns of the paired difference from the baseline, over the seeds that all matched arms have."""
        cells = [other.cell for other in self.matched]
        if arm.cell == self.settings.baseline or arm.cell not in cells:
            nothing = ("difference", "difference_low", "difference_high", "probability", "p")
            return {**dict.fromkeys(nothing, np.nan), "num_matched": 0}
        score_ASP = np.stack([other.score(self.settings.pass_at) for other in self.matched])
        pair_ASP = score_ASP[[cells.index(arm.cell), cells.index(self.settings.baseline)]]
        seeds = stats.matched_seed_variance(score_ASP.mean(axis=2))
        resampled_R = stats.contrast_resamples(pair_ASP, np.array([1.0, -1.0]), self.weight_RP, seeds, self.rng)
        gap = stats.interval((pair_ASP[0] - pair_ASP[1]).mean(), resampled_R, self.settings.confidence, (-1.0, 1.0))
        return {
            "difference": gap.point,
            "difference_low": gap.low,
            "difference_high": gap.high,
            "probability": stats.probability_of_improvement(resampled_R),
            "p": stats.two_sided_p(resampled_R),
            "num_matched": pair_ASP.shape[1],
        }


def clip_liveness(experiment: Experiment) -> dict[str, bool]:
    """Cell -> whether the policy ever differed from the old policy within a rollout batch, in any run of the cell."""
    wide = wide_metrics(experiment.metrics, ["policy/clip_is_live"])
    logged = wide.dropna(subset="policy/clip_is_live")
    return (logged.groupby("cell")["policy/clip_is_live"].max() > 0).to_dict()
