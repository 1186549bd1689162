"""Why a cell scored worse than the best one, in numbers that were recorded, and one rollout that shows it."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from ablate.records import read_columns
from ablate.types import VerdictKind
from ablate_analysis.answer import answer_context
from ablate_analysis.compare import Comparison
from ablate_analysis.load import Experiment, Run
from ablate_analysis.outcomes import WARM_START
from ablate_analysis.pages.rollouts import saved_steps
from ablate_analysis.tables import points

LAST_STEPS = 5  # of training, for what goes with a lower score


@dataclass(frozen=True)
class Example:
    """A saved rollout of a run."""

    run: Run
    step: int
    rollout: int
    problem: str
    sample: int
    verdict: str

    @property
    def text(self) -> str:
        return f"{self.problem}, sample {self.sample} of step {self.step}: {self.verdict.replace('_', ' ')}"


@dataclass(frozen=True)
class Reason:
    """One cell that scored below the best: what makes up the gap, what goes with it, and a rollout if one was saved."""

    cell: str
    sentences: tuple[str, ...]
    example: Example | None


def reasons(experiment: Experiment, comparison: Comparison) -> list[Reason]:
    """One reason for each cell below the best at the context of the answer, the lowest score last."""
    context = answer_context(experiment, comparison)
    frame = comparison.frame
    here = frame[(frame["context"] == context) & (frame["cell"] != WARM_START)].sort_values("point", ascending=False)
    best = here.iloc[0]
    found = []
    for _, row in here.iloc[1:].iterrows():
        verdict, said = commonest_failure(experiment, comparison, row, best)
        sentences = [
            gap_sentence(comparison, row, best, context),
            said,
            training_sentence(experiment, comparison, row, best),
        ]
        example = example_of(experiment, row["cell"], context, verdict)
        found.append(Reason(row["cell"], tuple(filter(None, sentences)), example))
    return found


def gap_sentence(comparison: Comparison, row: pd.Series, best: pd.Series, context: int) -> str:
    """Split the gap in Pass@1: f p - F P = (f - F) (p + P) / 2 + (p - P) (f + F) / 2, plus what passed unfinished."""
    names = comparison.names
    cut = (row["finished"] - best["finished"]) * (row["passed_finished"] + best["passed_finished"]) / 2
    wrong = (row["passed_finished"] - best["passed_finished"]) * (row["finished"] + best["finished"]) / 2
    other = row["passed_unfinished"] - best["passed_unfinished"]
    parts = f"{lost(wrong)} from wrong programs, {lost(cut)} from responses that were cut off"
    if lost(other) != lost(0.0):
        parts += f", {lost(other)} from programs that passed although cut off"
    return (
        f"{names[row['cell']]} is {lost(cut + wrong + other)} points of Pass@1 below {names[best['cell']]} at "
        f"{context:,} tokens: {parts}."
    )


def lost(share: float) -> str:
    """A loss in points; never -0.0."""
    return points(round(-share, 3) + 0.0)


def last_samples(experiment: Experiment, cell: str, context: int) -> pd.DataFrame:
    scores = experiment.scores
    mine = scores[(scores["cell"] == cell) & (scores["context"] == context)]
    return mine[mine["step"] == mine.groupby("run")["step"].transform("max")]


def commonest_failure(
    experiment: Experiment, comparison: Comparison, row: pd.Series, best: pd.Series
) -> tuple[str | None, str]:
    """The failing verdict that a cell has most in excess of the best cell, and a sentence about it."""
    shares = [
        last_samples(experiment, cell, int(row["context"]))["verdict"].value_counts(normalize=True)
        for cell in (row["cell"], best["cell"])
    ]
    excess = shares[0].sub(shares[1], fill_value=0.0).drop(str(VerdictKind.accepted), errors="ignore").sort_index()
    if excess.empty or excess.max() <= 0:
        return None, ""
    verdict = str(excess.idxmax())
    mine, others = (100 * share.get(verdict, 0.0) for share in shares)
    return verdict, (
        f"It has more of the verdict {verdict.replace('_', ' ')}: {mine:.1f} % of its samples, "
        f"{others:.1f} % of {comparison.names[best['cell']]}'s."
    )


def training_sentence(experiment: Experiment, comparison: Comparison, row: pd.Series, best: pd.Series) -> str:
    """The means of the last steps of training; they go with the gap, and do not prove its cause."""
    metrics = experiment.metrics
    late = metrics[metrics["step"] > metrics.groupby("run")["step"].transform("max") - LAST_STEPS]
    means = late.groupby(["cell", "name"])["value"].mean()

    def pair(*names: str) -> tuple[float, float] | None:
        sums = [sum(means.get((cell, name), float("nan")) for name in names) for cell in (row["cell"], best["cell"])]
        return None if any(value != value for value in sums) else (sums[0], sums[1])

    said = []
    if shares := pair("policy/clip_low", "policy/clip_high"):
        said.append(f"the clip changed {100 * shares[0]:.2g} % of its tokens ({100 * shares[1]:.2g} %)")
    if shares := pair("rollout/truncated"):
        said.append(f"{100 * shares[0]:.2g} % of its rollouts were cut off ({100 * shares[1]:.2g} %)")
    if values := pair("policy/entropy"):
        said.append(f"its entropy was {values[0]:.2g} nats ({values[1]:.2g})")
    if not said:
        return ""
    name = comparison.names[best["cell"]]
    return f"In the last {LAST_STEPS} steps of training (in brackets: {name}) {', '.join(said)}."


def example_of(experiment: Experiment, cell: str, context: int, verdict: str | None) -> Example | None:
    """A failed rollout of the cell's worst run: with that verdict if there is one, in a group that mostly passed."""
    samples = last_samples(experiment, cell, context)
    score = samples.groupby("run")["passed"].mean()
    for run in sorted(experiment.runs_of(cell), key=lambda run: (score.get(run.name, 0.0), run.name)):
        for step in reversed(saved_steps(run)[-1:]):
            columns = ("problem_id", "sample", "verdict", "advantage")
            rows = list(enumerate(read_columns(run.directory.steps.rollouts_file(step), columns)))
            failed = [(index, row) for index, row in rows if row["verdict"] != VerdictKind.accepted]
            wanted = [(index, row) for index, row in failed if row["verdict"] == verdict] or failed
            if wanted:
                index, row = min(wanted, key=lambda pair: (pair[1]["advantage"], pair[0]))
                return Example(run, step, index, row["problem_id"], row["sample"], row["verdict"])
    return None
