"""Forks: what the next n steps of each arm do, compared with the baseline's, from the same states of the same runs.

Shapes: A arms (the baseline first), S parents, R repeats, P problems, as in ``ablate_analysis.stats``. What repeats a
branch under other random numbers, or from another parent, is its unit U: with two parents or more, the parents (a
parent's repeats are one number, because forks of one run share its state and are not independent runs); with one
parent, its repeats, and every interval then is about that run alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ablate.errors import UserError
from ablate.laboratory import AS_CONFIGURED, ROWS_FILE
from ablate.types import VerdictKind
from ablate_analysis import stats
from ablate_analysis.load import Experiment, Run
from ablate_analysis.tables import points, with_interval

EVERY = "all"  # points: the mean effect over them
CHANGE = "change"  # of the effect, from the first point to the last


@dataclass(frozen=True)
class Branches:
    """Pass@1 of every branch that is complete.

    ``score[context, point]`` is ``score_ASRP``.
    """

    arms: tuple[str, ...]
    names: Mapping[str, str]  # arm -> its printed name
    points: tuple[int, ...]  # steps of the parent
    parents: tuple[int, ...]  # seeds
    repeats: tuple[int, ...]
    num_steps: int  # of a branch
    score: Mapping[tuple[int, int], stats.Array]
    num_left_out: int  # branches without their counterparts

    @property
    def contexts(self) -> tuple[int, ...]:
        return tuple(sorted({context for context, _ in self.score}))

    @property
    def has_parents(self) -> bool:
        """Whether intervals are over parents."""
        return len(self.parents) > 1

    def units(self, score_ASRP: stats.Array) -> stats.Array:
        """``score_AUP``: a parent's repeats averaged, or the repeats of the only parent."""
        return score_ASRP.mean(axis=2) if self.has_parents else score_ASRP[:, 0]


def is_fork(run: Run) -> bool:
    return (run.config.get("fork") or {}).get("run") is not None


def arm_of(run: Run) -> str:
    """The cell without its fork point and repeat: "gspo" of "gspo-at5-repeat0"."""
    fork = run.config["fork"]
    return run.cell.replace(f"-at{fork['step']}", "").replace(f"-repeat{fork['repeat']}", "")


def read_branches(experiment: Experiment, baseline: str) -> Branches:
    """Arrange the finished branches; repeats that a parent, an arm or a point lacks are left out.

    Raises:
        UserError: if no repeat is complete, or the baseline is no arm.
    """
    runs = {run.name: run for run in experiment.runs}
    scores = experiment.scores
    last = scores[scores["step"] == scores.groupby("run")["step"].transform("max")]
    last = last[last["verdict"] != VerdictKind.infrastructure_error]
    about = pd.DataFrame(
        [(name, arm_of(run), run.config["fork"]["step"], run.config["fork"]["repeat"]) for name, run in runs.items()],
        columns=["run", "arm", "point", "repeat"],
    )
    rows = last.drop(columns=["repeat", "point", "arm"], errors="ignore").merge(about, on="run")
    found = sorted(set(about["arm"]), key=lambda arm: (arm != baseline, arm))
    if found[0] != baseline:
        raise UserError(f"comparison.baseline={baseline} is not an arm of these forks: use one of {', '.join(found)}")
    keys = ["context", "point", "arm", "seed", "repeat", "problem_id"]
    mean = rows.groupby(keys)["passed"].mean().unstack("problem_id")
    levels = [sorted(set(rows[key])) for key in ("context", "point", "seed")]
    wanted = pd.MultiIndex.from_product([*levels[:2], found, levels[2]])
    repeats = [
        repeat for repeat in sorted(set(rows["repeat"])) if wanted.isin(mean.xs(repeat, level="repeat").index).all()
    ]
    if not repeats or mean.isna().any(axis=None):
        raise UserError(
            f"{experiment.path}: no repeat has every arm at every fork point of every parent, on the same problems: "
            "run the experiment again, which continues its runs"
        )
    contexts, points, parents = levels
    shape = (len(found), len(parents), len(repeats), mean.shape[1])

    def score_of(context: int, point: int) -> stats.Array:
        index = pd.MultiIndex.from_product([[context], [point], found, parents, repeats])
        return mean.reindex(index).to_numpy(float).reshape(shape)

    some = next(iter(runs.values())).config
    names = {arm: next(name_of(run) for run in runs.values() if arm_of(run) == arm) for arm in found}
    return Branches(
        tuple(found),
        names,
        tuple(points),
        tuple(parents),
        tuple(repeats),
        sum(stage["steps"] for stage in some["context"]["stages"]) - some["fork"]["step"],
        {(context, point): score_of(context, point) for context in contexts for point in points},
        len(runs) - len(points) * shape[0] * shape[1] * shape[2],
    )


def name_of(run: Run) -> str:
    arm = arm_of(run)
    return run.config["objective"]["label"] if arm == run.config["objective"]["name"] else arm.replace("_", " ")


def effects(branches: Branches, resamples: int, confidence: float, seed: int) -> pd.DataFrame:
    """Return one row per context, point and arm: the paired difference from the baseline, in shares of Pass@1.

    ``point`` is a step, ``EVERY`` or ``CHANGE``. ``p_holm`` is adjusted over all single points together, and over the
    other rows together.
    """
    rng = np.random.default_rng(seed)
    weight_RP = stats.problem_weights(next(iter(branches.score.values())).shape[-1], resamples, rng)
    rows = []
    for context in branches.contexts:
        score = {point: branches.units(branches.score[context, point]) for point in branches.points}
        shown: dict[int | str, stats.Array] = dict(score)
        if len(score) > 1:
            shown[EVERY] = np.mean(list(score.values()), axis=0)
            shown[CHANGE] = score[branches.points[-1]] - score[branches.points[0]]
        for point, score_AUP in shown.items():
            for place, arm in enumerate(branches.arms[1:], 1):
                found = contrast(score_AUP, place, weight_RP, confidence, rng)
                rows.append({"context": context, "point": point, "arm": arm, **found})
    frame = pd.DataFrame(rows)
    single = frame["point"].isin(branches.points)
    frame["p_holm"] = np.nan
    for family in (single, ~single):
        frame.loc[family, "p_holm"] = stats.holm(frame.loc[family, "p"].tolist())
    return frame


def contrast(
    score_AUP: stats.Array, place: int, weight_RP: stats.Array, confidence: float, rng: np.random.Generator
) -> dict[str, float]:
    """One arm minus the baseline: size, interval, standard error and p-value. One unit: over problems alone."""
    coefficient_A = np.zeros(len(score_AUP))
    coefficient_A[[place, 0]] = 1.0, -1.0
    units = stats.matched_seed_variance(score_AUP.mean(axis=2))
    resampled_R = stats.contrast_resamples(score_AUP, coefficient_A, weight_RP, units, rng)
    size = stats.interval((score_AUP[place] - score_AUP[0]).mean(), resampled_R, confidence, (-2.0, 2.0))
    unit = 2 * units.variance / score_AUP.shape[1]
    problem = (score_AUP[place] - score_AUP[0]).mean(axis=0).var(ddof=1) / score_AUP.shape[2]
    return {
        "effect": size.point,
        "low": size.low,
        "high": size.high,
        "p": stats.two_sided_p(resampled_R),
        "error": float(np.sqrt(unit + problem)),
        "unit_error": float(np.sqrt(unit)),
    }


def deviations(branches: Branches, context: int, point: int) -> tuple[float, float]:
    """Standard deviations of an effect between parents and between repeats of one parent, pooled over the arms.

    From the mean squares of a nested analysis of variance; NaN where there are no two parents, or no two repeats.
    """
    score_ASR = branches.score[context, point].mean(axis=3)
    effect_ASR = score_ASR[1:] - score_ASR[0]
    _, num_parents, num_repeats = effect_ASR.shape
    within = float(effect_ASR.var(axis=2, ddof=1).mean()) if num_repeats > 1 else np.nan
    if num_parents < 2:
        return np.nan, np.sqrt(within)
    between = float(effect_ASR.mean(axis=2).var(axis=1, ddof=1).mean())
    noise = within / num_repeats if num_repeats > 1 else 0.0
    return float(np.sqrt(max(0.0, between - noise))), float(np.sqrt(within))


def steps_of_pair(branches: Branches) -> tuple[int, int]:
    """Steps of the two arms of one effect from their fork points, and those of the parents up to the last one."""
    pair = 2 * len(branches.parents) * len(branches.repeats) * branches.num_steps
    return pair, len(branches.parents) * branches.points[-1]


def sentences(branches: Branches, frame: pd.DataFrame, confidence: float) -> list[str]:
    """What was found at single points, in sentences that rank nothing inside the noise."""
    base, steps = branches.names[branches.arms[0]], branches.num_steps
    single = frame[frame["point"].isin(branches.points)]
    clear = single[single["p_holm"] < 1 - confidence].sort_values(["context", "point"], ascending=[False, True])
    said = [
        f"After {steps} steps from step {row.point}, {branches.names[row.arm]} is "
        f"{'above' if row.effect > 0 else 'below'} {base} at {row.context:,} tokens: "
        f"{with_interval(row.effect, row.low, row.high, signed=True)} points."
        for row in clear.itertuples()
    ]
    widest = points(float((single["high"] - single["low"]).max()) / 2)
    return said or [
        f"At no fork point do {steps} steps of another arm end detectably above or below {steps} steps of {base}; the "
        f"intervals reach up to {widest} points to each side."
    ]


def what_may_be_concluded(branches: Branches) -> str:
    """The population that the intervals are about."""
    steps = branches.num_steps
    local = (
        f"An effect is local: it is what {steps} steps do from these states, and not what whole runs do. An arm that "
        "pays late looks useless here."
    )
    if branches.has_parents:
        return (
            f"{local} Intervals are over the {len(branches.parents)} parents and the problems: other runs of the same "
            "cell, at the same steps. A parent's repeats are averaged first, because they share its state."
        )
    if len(branches.repeats) > 1:
        return (
            f"{local} Intervals are over the {len(branches.repeats)} repeats and the problems: they are about this one "
            "run, and say nothing about other runs of the same cell. Fork more parents (seeds) to say that."
        )
    return (
        f"{local} With one parent and one repeat, intervals are over the problems alone: they are about these "
        "branches, and say nothing about other random numbers or other runs."
    )


def cosines(branches: Branches, runs: Sequence[Run]) -> pd.DataFrame:
    """Return arm, point, cosine: of an arm's gradient with the baseline's at the fork point, mean over the parents.

    From the laboratory's files of the parents (``PARENT/laboratory``); empty where the laboratory looked at none. An
    arm is an objective there, or a toggle of the baseline's objective.
    """
    paths = {Path(run.config["fork"]["run"]) / "laboratory" / ROWS_FILE for run in runs}
    frames = [pd.read_parquet(path) for path in sorted(paths) if path.exists()]
    if not frames:
        return pd.DataFrame(columns=["arm", "point", "cosine"])
    found = pd.concat(frames)
    found = found[found["measure"].eq("cosine_parameters") & found["checkpoint"].isin(branches.points)]
    base = branches.arms[0]
    own = next(run.config["objective"]["name"] for run in runs if arm_of(run) == base)
    by_objective = found[found["toggle"].eq(AS_CONFIGURED) & found["bucket"].eq(base)].assign(arm=found["objective"])
    by_toggle = found[found["objective"].eq(own) & found["toggle"].ne(AS_CONFIGURED)].assign(arm=found["toggle"])
    both = pd.concat([by_objective, by_toggle]).rename(columns={"checkpoint": "point", "value": "cosine"})
    both = both[both["arm"].isin(branches.arms[1:])]
    return both.groupby(["arm", "point"], as_index=False)["cosine"].mean()
