"""Three samples that show why two cells differ: one problem that both answered, and a rollout of the training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from ablate.records import read_columns
from ablate.records.token_values import token_files
from ablate.types import VerdictKind
from ablate_analysis.compare import Comparison, Gap
from ablate_analysis.load import Experiment, Run
from ablate_analysis.outcomes import WARM_START
from ablate_analysis.pages.rollouts import saved_steps

ROLLOUT = ("problem_id", "difficulty", "sample", "verdict", "advantage", "group")


@dataclass(frozen=True)
class Example:
    """A recorded sample: of an evaluation where ``context`` is given, else rollout ``number`` of a training step."""

    run: Run
    step: int
    problem: str
    sample: int
    verdict: str
    said: str  # what it shows
    number: int = 0
    context: int | None = None

    @property
    def text(self) -> str:
        where = f"step {self.step}" if self.context is None else f"{self.context:,} tokens"
        return f"{self.problem}, sample {self.sample} at {where}: {self.verdict.replace('_', ' ')}"


def examples_of(experiment: Experiment, comparison: Comparison, gap: Gap, difficulty: str | None) -> Iterator[Example]:
    """At most three.

    Args:
        difficulty: the class of problems that contributes most to the gap; None for all problems.
    """
    evaluated = list(flip(experiment, comparison, gap, difficulty))
    yield from evaluated or trained_flip(experiment, comparison, gap, difficulty)
    rollout = by_tokens(experiment, comparison, gap) or rewarded(experiment, comparison, gap, difficulty)
    if rollout is not None:
        yield rollout


# --- one problem, two evaluations -------------------------------------------------------------------------------------


def flip(experiment: Experiment, comparison: Comparison, gap: Gap, difficulty: str | None) -> Iterator[Example]:
    """The problem on which the two differ most: a sample that passes above, and one that fails below."""
    scores = experiment.scores[experiment.scores["context"] == gap.context]
    scores = scores if difficulty is None else scores[scores["difficulty"] == difficulty]
    above, below = samples_of(scores, gap.upper), samples_of(scores, gap.lower)
    rates = [samples.groupby("problem_id")["passed"].mean() for samples in (above, below)]
    gaps = rates[0].sub(rates[1]).dropna().sort_index()
    if gaps.empty or gaps.max() <= 0:
        return
    problem, names = gaps.idxmax(), comparison.names
    for cell, samples, passes, rate in ((gap.upper, above, True, rates[0]), (gap.lower, below, False, rates[1])):
        mine = samples[(samples["problem_id"] == problem) & (samples["passed"] == passes)]
        verdict = mine["verdict"].mode()
        mine = mine[mine["verdict"] == verdict.iloc[0]] if len(verdict) else mine
        for row in mine.sort_values(["seed", "sample"]).itertuples():
            run = next(run for run in experiment.runs if run.name == row.run)
            if (int(row.step), gap.context) in run.directory.eval_texts.kept():
                said = f"{names[cell]} passes this problem in {100 * rate[problem]:.0f} % of its samples. One of them:"
                yield Example(run, int(row.step), problem, int(row.sample), row.verdict, said, context=gap.context)
                break


def samples_of(scores: pd.DataFrame, cell: str) -> pd.DataFrame:
    if cell == WARM_START:
        return scores[scores["step"] == 0]
    mine = scores[scores["cell"] == cell]
    return mine[mine["step"] == mine.groupby("run")["step"].transform("max")]


# --- rollouts of the training -----------------------------------------------------------------------------------------


def rollouts_of(run: Run, step: int) -> list[dict]:
    return [
        {"number": number, **row}
        for number, row in enumerate(read_columns(run.directory.steps.rollouts_file(step), ROLLOUT))
    ]


def last_rollouts(experiment: Experiment, cell: str) -> Iterator[tuple[Run, int, list[dict]]]:
    for run in experiment.runs_of(cell):
        if steps := saved_steps(run):
            yield run, steps[-1], rollouts_of(run, steps[-1])


def trained_flip(experiment: Experiment, comparison: Comparison, gap: Gap, difficulty: str | None) -> Iterator[Example]:
    """For records without the texts of evaluations: of the last step, a rollout that passed and one that failed."""
    for cell, passes in ((gap.upper, True), (gap.lower, False)):
        found = next(
            (
                (run, step, row)
                for run, step, rows in last_rollouts(experiment, cell)
                for row in sorted(rows, key=lambda row: row["difficulty"] != difficulty)
                if (row["verdict"] == VerdictKind.accepted) == passes
            ),
            None,
        )
        if found is not None:
            run, step, row = found
            said = f"A rollout of {comparison.names[cell]} that {'passed' if passes else 'failed'}:"
            yield Example(run, step, row["problem_id"], row["sample"], row["verdict"], said, row["number"])


def rewarded(experiment: Experiment, comparison: Comparison, gap: Gap, difficulty: str | None) -> Example | None:
    """What the upper cell learned from: in its last saved step, the accepted rollout with the largest advantage."""
    best: tuple[float, Example] | None = None
    for run, step, rows in last_rollouts(experiment, gap.upper):
        passed = Counter(row["problem_id"] for row in rows if row["verdict"] == VerdictKind.accepted)
        sampled = Counter(row["problem_id"] for row in rows)
        for row in rows:
            value = (row["difficulty"] == difficulty, row["advantage"])
            if row["verdict"] == VerdictKind.accepted and (best is None or value > best[0]):
                said = (
                    f"What {comparison.names[gap.upper]}'s training rewarded: one of {passed[row['problem_id']]} of "
                    f"{sampled[row['problem_id']]} that passed, advantage {row['advantage']:+.1f}."
                )
                best = value, Example(run, step, row["problem_id"], row["sample"], row["verdict"], said, row["number"])
    return best[1] if best else None


def by_tokens(experiment: Experiment, comparison: Comparison, gap: Gap) -> Example | None:
    """The rollout whose share of the gradient differs most between the two objectives, where the laboratory has it."""
    if gap.lower == WARM_START:
        return None
    names = [experiment.runs_of(cell)[0].objective for cell in (gap.upper, gap.lower)]
    if names[0] == names[1]:
        return None
    best: tuple[float, Example] | None = None
    for run in experiment.runs:
        for file in token_files(run.directory.path):
            if not set(names) <= set(file.objectives):
                continue
            rows = {row["number"]: row for row in rollouts_of(run, file.step)}
            for row in file.rows():
                shares = [100 * sum(map(abs, row[f"{name}/share"])) for name in names]
                clipped = [sum(1 for value in row[f"{name}/clip"] if value) for name in names]
                value, recorded = abs(shares[0] - shares[1]), rows[row["rollout"]]
                if best is None or value > best[0]:
                    said = (
                        f"Whose gradient it moves: {names[0]} takes {shares[0]:.2g} % of the batch's gradient from it "
                        f"({clipped[0]} of {len(row['tokens'])} tokens clipped), {names[1]} {shares[1]:.2g} % "
                        f"({clipped[1]} clipped)."
                    )
                    best = value, Example(run, file.step, recorded["problem_id"], recorded["sample"],
                                          recorded["verdict"], said, row["rollout"])  # fmt: skip
    return best[1] if best else None
