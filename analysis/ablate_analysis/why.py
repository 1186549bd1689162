"""Why two cells differ: the largest difference that is real, where it comes from, and three samples that show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from ablate_analysis.compare import Comparison, Gap
from ablate_analysis.examples import Example, examples_of
from ablate_analysis.load import Experiment
from ablate_analysis.one_factor import what_differs
from ablate_analysis.outcomes import WARM_START, Arm
from ablate_analysis.render import difficulty_order
from ablate_analysis.tables import points, with_interval
from ablate_analysis.verdicts import contexts_of, joined

LAST_STEPS = 5  # of training, for what goes with a lower score
MUCH = 0.05  # of the responses
NO_POINTS = 5e-4  # shares that print as 0.0 points
MOST_OF_THE_GAP = 0.6  # a class of problems that makes up this share is named alone


@dataclass(frozen=True)
class Explanation:
    """What the section "Why" says. Without a gap there is nothing to explain, and ``sentences`` says so."""

    gap: Gap | None
    sentences: tuple[str, ...]
    examples: tuple[Example, ...] = ()


def explain(experiment: Experiment, comparison: Comparison) -> Explanation:
    gap = largest_gap(comparison)
    if gap is None:
        return Explanation(None, ("There is no difference to explain: no cell differs detectably from another one, "
                                  "or from the warm start.",))  # fmt: skip
    classes = contributions(experiment, comparison, gap)
    sentences = [
        lead(comparison, gap),
        where_sentence(classes, gap),
        finish_sentence(comparison, gap),
        shorter_sentence(comparison, gap),
        *([] if gap.is_gain else [
            training_sentence(experiment, comparison, gap),
            configuration_sentence(experiment, comparison, gap),
            indistinct_sentence(comparison, gap),
        ]),
    ]  # fmt: skip
    carrying = classes[0].name if carries(classes) else None
    return Explanation(gap, tuple(filter(None, sentences)), tuple(examples_of(experiment, comparison, gap, carrying)))


def largest_gap(comparison: Comparison) -> Gap | None:
    """The largest clear difference of two cells; if there is none, the largest clear gain over the warm start.

    Where no pair is tested over training seeds, the largest difference that is clear over problems: these runs do
    differ, even if others might not.
    """
    pairs, frame, alpha = comparison.pairs, comparison.frame, 1 - comparison.settings.confidence
    clear = pairs[pairs["is_clear"]] if len(pairs) else pairs
    if len(clear):
        clear = clear[clear["is_tested"] == pairs["is_tested"].any()]
    if len(clear):
        row = clear.loc[clear["point"].idxmax()]
        return Gap(int(row["context"]), row["upper"], row["lower"], row["point"], row["low"], row["high"],
                   bool(row["is_tested"]))  # fmt: skip
    gained = frame[(frame["gain_p_holm"] < alpha) & (frame["gain"] > 0)]
    if gained.empty:
        return None
    row = gained.loc[gained["gain"].idxmax()]
    return Gap(int(row["context"]), row["cell"], WARM_START, row["gain"], row["gain_low"], row["gain_high"],
               row["num_seeds"] > 1)  # fmt: skip


def arm_at(comparison: Comparison, cell: str, context: int) -> Arm:
    return next(arm for arm in comparison.arms if (arm.cell, arm.context) == (cell, context))


def row_at(comparison: Comparison, cell: str, context: int) -> pd.Series | None:
    frame = comparison.frame
    found = frame[(frame["cell"] == cell) & (frame["context"] == context)]
    return None if found.empty else found.iloc[0]


# --- what makes up the gap --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ClassOfProblems:
    """The part of a gap that problems of one difficulty make up, in shares of Pass@1."""

    name: str
    num_problems: int
    upper: float
    lower: float
    points: float  # (upper - lower) x its share of the problems: the classes add up to the gap


def contributions(experiment: Experiment, comparison: Comparison, gap: Gap) -> list[ClassOfProblems]:
    """The classes of difficulty, the one that contributes most first."""
    upper, lower = (arm_at(comparison, cell, gap.context) for cell in (gap.upper, gap.lower))
    difficulty = experiment.scores.groupby("problem_id")["difficulty"].first()
    frame = pd.DataFrame(
        {"upper": upper.score(1).mean(axis=0), "lower": lower.score(1).mean(axis=0)}, index=list(upper.problem_ids)
    )
    frame["class"] = difficulty.reindex(frame.index)
    found = []
    for name, part in sorted(frame.groupby("class"), key=lambda pair: difficulty_order(str(pair[0]))):
        share = len(part) / len(frame)
        high, low = part["upper"].mean(), part["lower"].mean()
        found.append(ClassOfProblems(str(name), len(part), high, low, share * (high - low)))
    return sorted(found, key=lambda each: -each.points)


# --- sentences --------------------------------------------------------------------------------------------------------


def lead(comparison: Comparison, gap: Gap) -> str:
    names = comparison.names
    upper, lower = (row_at(comparison, cell, gap.context)["point"] for cell in (gap.upper, gap.lower))
    below = "the warm start" if gap.is_gain else names[gap.lower]
    size = with_interval(gap.point, gap.low, gap.high, signed=True)
    score = f"Pass@{comparison.settings.pass_at}"
    said = (
        f"At {gap.context:,} tokens {names[gap.upper]} has {score} {points(upper)} % and {below} "
        f"{points(lower)} %: {size} points."
    )
    if gap.is_gain:
        return f"No two cells differ detectably, so this is the largest gain over the warm start. {said}"
    if gap.is_tested:
        return f"This is the largest detectable difference. {said}"
    return (
        f"This is the largest difference between these runs. {said} The interval is over problems only: too few seeds "
        "are finished to say whether other runs would differ."
    )


def carries(classes: Sequence[ClassOfProblems]) -> bool:
    """Does the first class make up most of the gap?"""
    return len(classes) > 1 and classes[0].points >= MOST_OF_THE_GAP * sum(each.points for each in classes)


def where_sentence(classes: Sequence[ClassOfProblems], gap: Gap) -> str:
    if len(classes) < 2:
        return ""
    top, last = classes[0], classes[-1]
    whole = sum(each.points for each in classes)
    if carries(classes):
        said = (
            f"{points(top.points)} of the {points(whole)} points come from {top.name} ({top.num_problems} problems: "
            f"{points(top.upper)} % against {points(top.lower)} %)"
        )
    else:
        gaps = sorted(classes, key=lambda each: each.lower - each.upper)
        said = (
            f"The gap is spread over the classes of difficulty: from {points(gaps[-1].upper - gaps[-1].lower, True)} "
            f"points ({gaps[-1].name}) to {points(gaps[0].upper - gaps[0].lower, True)} points ({gaps[0].name})"
        )
    worse = f"; it loses {points(-last.points)} points on {last.name}" if last.points < -0.005 else ""
    return f"{said}{worse}."


def finish_sentence(comparison: Comparison, gap: Gap) -> str:
    """Split the gap in Pass@1: F P - f p = (F - f) (P + p) / 2 + (P - p) (F + f) / 2, plus what passed unfinished."""
    high, low = (row_at(comparison, cell, gap.context) for cell in (gap.upper, gap.lower))
    by_finishing = (high["finished"] - low["finished"]) * (high["passed_finished"] + low["passed_finished"]) / 2
    by_passing = (high["passed_finished"] - low["passed_finished"]) * (high["finished"] + low["finished"]) / 2
    name = comparison.names[gap.upper]
    if abs(by_finishing) < NO_POINTS:
        finish = "both finish equally often"
    else:
        more = "more" if by_finishing > 0 else "fewer"
        finish = f"{more} of its responses finish ({share(high, low, 'finished')}): {points(by_finishing, True)} points"
    more = "More" if by_passing >= 0 else "Fewer"
    return (
        f"{more} of {name}'s finished responses pass ({share(high, low, 'passed_finished')}), which makes "
        f"{points(by_passing, True)} points; {finish}."
    )


def share(high: pd.Series, low: pd.Series, column: str) -> str:
    return f"{points(high[column])} % against {points(low[column])} %"


def shorter_sentence(comparison: Comparison, gap: Gap) -> str:
    """What the same weights do in the shortest context: a longer answer pays only where it fits."""
    shortest = contexts_of(comparison)[0]
    high, low = (row_at(comparison, cell, shortest) for cell in (gap.upper, gap.lower))
    if shortest == gap.context or high is None or low is None:
        return ""
    longer = high["finished"] < low["finished"] - MUCH and high["passed_finished"] > low["passed_finished"] + MUCH
    name = comparison.names[gap.upper]
    pays = f"{name}'s answers are longer, which pays only where they fit: at" if longer else "At"
    return (
        f"{pays} {shortest:,} tokens the same weights finish {share(high, low, 'finished')} of their responses, and "
        f"{share(high, low, 'passed_finished')} of those pass: Pass@1 {share(high, low, 'point')}."
    )


def training_sentence(experiment: Experiment, comparison: Comparison, gap: Gap) -> str:
    """The means of the last steps of training; they go with the gap, and do not prove its cause."""
    metrics, names = experiment.metrics, comparison.names
    if metrics.empty:
        return ""
    late = metrics[metrics["step"] > metrics.groupby("run")["step"].transform("max") - LAST_STEPS]
    means = late.groupby(["cell", "name"])["value"].mean()

    def pair(*columns: str) -> tuple[float, float] | None:
        sums = [sum(means.get((cell, name), float("nan")) for name in columns) for cell in (gap.upper, gap.lower)]
        return None if any(value != value for value in sums) else (sums[0], sums[1])

    said = []
    if shares := pair("policy/clip_low", "policy/clip_high"):
        said.append(f"the clip took {100 * shares[0]:.2g} % of the tokens ({100 * shares[1]:.2g} %)")
    if shares := pair("rollout/truncated"):
        said.append(f"{100 * shares[0]:.2g} % of the rollouts were cut off ({100 * shares[1]:.2g} %)")
    if lengths := pair("rollout/length_mean"):
        said.append(f"a response had {lengths[0]:.0f} tokens ({lengths[1]:.0f})")
    if values := pair("policy/entropy"):
        said.append(f"the entropy was {values[0]:.2g} nats ({values[1]:.2g})")
    if not said:
        return ""
    return (
        f"In the last {LAST_STEPS} steps of {names[gap.upper]}'s training (in brackets: {names[gap.lower]}) "
        f"{joined(said)}."
    )


def configuration_sentence(experiment: Experiment, comparison: Comparison, gap: Gap) -> str:
    keys = what_differs(experiment, gap.upper, gap.lower)
    if not keys:
        return ""
    return f"{comparison.names[gap.upper]} differs from {comparison.names[gap.lower]} in {joined(keys[:6])}."


def indistinct_sentence(comparison: Comparison, gap: Gap) -> str:
    """The pairs of the same context that show no difference, so that no noise is explained."""
    pairs, names = comparison.pairs, comparison.names
    here = pairs[(pairs["context"] == gap.context) & ~pairs["is_clear"]]
    if here.empty:
        return ""
    said = [
        f"{names[row.upper]} and {names[row.lower]} ({with_interval(row.point, row.low, row.high, True)})"
        for row in here.head(6).itertuples()
    ]
    return f"Not to be told apart at {gap.context:,} tokens: {joined(said)}."
