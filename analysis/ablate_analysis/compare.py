"""Arms compared with a baseline: the frame behind every table and every figure of scores.

An arm is one cell at one evaluation context, after training; the warm start is one more arm. All shares are 0 to 1.
"""

from __future__ import annotations

import itertools
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
    declares: bool = True  # whether a factor is declared; without one no arm is compared with the baseline


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
    gain_p: float
    difference: float
    difference_low: float
    difference_high: float
    probability: float  # of improvement: share of the resampled differences above 0
    p: float
    num_matched: int
    clip_is_live: bool | float  # NaN: not logged


@dataclass(frozen=True)
class Gap:
    """Two cells at one context, the one with the higher score first; ``lower`` may be the warm start."""

    context: int
    upper: str
    lower: str
    point: float
    low: float
    high: float
    is_tested: bool  # over training seeds; else the interval is over problems only, and about these runs

    @property
    def is_gain(self) -> bool:
        return self.lower == WARM_START


@dataclass(frozen=True)
class Pair(Gap):
    """Two trained cells: the columns of ``Comparison.pairs``.

    A pair is tested over training seeds if both cells are compared with the baseline, which takes ``min_seeds``.
    """

    p: float
    num_seeds: int


@dataclass(frozen=True)
class Comparison:
    """The rows of the tables, the arms behind them, and the variance of a difference at each context."""

    settings: Settings
    frame: pd.DataFrame  # one ``Row`` per line; p_holm and gain_p_holm: p adjusted for all in their column
    pairs: pd.DataFrame  # one ``Pair`` per line, and is_clear: whether an adjusted p is below 1 - confidence
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
    rows, pairs, designs = [], [], {}
    for context in sorted({arm.context for arm in trained}):
        here = AtOneContext([arm for arm in arms if arm.context == context], settings, weight_RP, rng)
        rows += [here.row(arm, live.get(arm.cell, np.nan)) for arm in here.arms]
        pairs += here.pairs()
        if len(here.matched) > 1:
            rate_ASP = np.stack([arm.score(1) for arm in here.matched])
            designs[context] = power.difference_variance(rate_ASP, here.matched[0].passed_SPN.shape[2])
    frame = pd.DataFrame([asdict(row) for row in rows])
    frame["p_holm"], frame["gain_p_holm"] = adjusted(frame["p"]), adjusted(frame["gain_p"])
    names = {WARM_START: "Warm start", **experiment.names}
    judged = clear_pairs(pd.DataFrame([asdict(pair) for pair in pairs]), frame, settings)
    return Comparison(settings, order(frame, list(names)), judged, tuple(arms), designs, names)


def adjusted(p: pd.Series) -> pd.Series:
    """Holm's adjustment of the values that are known."""
    known = p.notna()
    return pd.Series(stats.holm(p[known].tolist()), index=p.index[known]).reindex(p.index)


def clear_pairs(pairs: pd.DataFrame, frame: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Add p_holm and is_clear.

    A pair with the baseline has the adjusted p of the declared comparisons, so that no two sentences about it can
    disagree. All other pairs are adjusted together, and those that are not tested over seeds on their own.
    """
    if pairs.empty:
        return pairs
    declared = frame[frame["p_holm"].notna()].set_index(["context", "cell"])["p_holm"]
    others = [
        row.lower if row.upper == settings.baseline else row.upper if row.lower == settings.baseline else ""
        for row in pairs.itertuples()
    ]
    p_holm = pd.Series(
        [declared.get(key, np.nan) for key in zip(pairs["context"], others, strict=True)], index=pairs.index
    )
    for is_tested in (True, False):
        family = p_holm.isna() & (pairs["is_tested"] == is_tested)
        p_holm[family] = stats.holm(pairs.loc[family, "p"].tolist())
    return pairs.assign(p_holm=p_holm, is_clear=p_holm < 1 - settings.confidence)


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
        is_enough = settings.declares and bool(matched) and len(matched[0].seeds) >= settings.min_seeds
        self.matched = matched if is_enough else []

    def row(self, arm: Arm, clip_is_live: bool | float) -> Row:
        finished, num_verified = arm.finished_SPN.sum(), arm.verified_SPN.sum()
        score, (gain, gain_p) = self.mean(arm), self.gain(arm)
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
            gain_p=gain_p,
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

    def gain(self, arm: Arm) -> tuple[stats.Interval, float]:
        """The gain over the warm start on the same problems, and its p-value."""
        if arm.cell == WARM_START or WARM_START not in self.score:
            return stats.Interval(np.nan, np.nan, np.nan), np.nan
        gain_SP = self.score[arm.cell] - self.score[WARM_START].mean(axis=0)
        resampled_R = stats.mean_resamples(gain_SP, self.weight_RP, self.seeds_of(arm), self.rng)
        size = stats.interval(gain_SP.mean(), resampled_R, self.settings.confidence, (-1.0, 1.0))
        return size, stats.two_sided_p(resampled_R)

    def pairs(self) -> list[Pair]:
        """Every two trained cells, the one with the higher score first."""
        trained = [arm for arm in self.arms if arm.cell != WARM_START]
        # Their own draws: those behind the rows do not depend on how many pairs there are.
        rng = np.random.default_rng([self.settings.seed, self.arms[0].context])
        return [self.pair(*both, rng) for both in itertools.combinations(trained, 2)]

    def pair(self, first: Arm, second: Arm, rng: np.random.Generator) -> Pair:
        mean = {arm.cell: self.score[arm.cell].mean() for arm in (first, second)}
        upper, lower = (first, second) if mean[first.cell] >= mean[second.cell] else (second, first)
        matched = {arm.cell: arm for arm in self.matched}
        is_tested = {upper.cell, lower.cell} <= matched.keys() and len(self.matched[0].seeds) > 1
        if is_tested:
            score_ASP = np.stack([arm.score(self.settings.pass_at) for arm in self.matched])
            cells = list(matched)
            pair_ASP = score_ASP[[cells.index(upper.cell), cells.index(lower.cell)]]
            seeds = stats.matched_seed_variance(score_ASP.mean(axis=2))
            point = float((pair_ASP[0] - pair_ASP[1]).mean())
            resampled_R = stats.contrast_resamples(pair_ASP, np.array([1.0, -1.0]), self.weight_RP, seeds, rng)
        else:
            gap_P = self.score[upper.cell].mean(axis=0) - self.score[lower.cell].mean(axis=0)
            point, resampled_R = float(gap_P.mean()), self.weight_RP @ gap_P
        size = stats.interval(point, resampled_R, self.settings.confidence, (-1.0, 1.0))
        num_seeds = len(self.matched[0].seeds) if is_tested else min(len(upper.seeds), len(lower.seeds))
        return Pair(first.context, upper.cell, lower.cell, size.point, size.low, size.high,
                    is_tested, stats.two_sided_p(resampled_R), num_seeds)  # fmt: skip

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
