"""The two stages of a tuned comparison: which learning rate each objective gets, and whether it got it
(experiments/tuned/README.md).

    python -m ablate_analysis.tuning outputs/tuning

prints the mean score of every cell, and the command that trains each objective at its chosen rate in stage 2. The
report of stage 2, which names stage 1 in ``comparison.tuned_in``, shows the same table next to its own comparison.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pandas as pd

from ablate.cli import run_main
from ablate.errors import UserError
from ablate_analysis.load import Experiment, load_experiment
from ablate_analysis.render import NOTHING, Table


def rates(scores: pd.DataFrame, rate_of: dict[str, float]) -> pd.DataFrame:
    """One row per cell: objective, rate, seeds, score (mean Pass@1 of the last step at the longest context), chosen.

    Args:
        scores: rows of evaluation samples, as ``Experiment.scores``.
        rate_of: run -> its learning rate.

    The highest score is chosen for each objective; ties go to the lower rate.
    """
    of_run = last_scores(scores).reset_index()
    of_run["rate"] = of_run["run"].map(rate_of)
    of_run["objective"] = of_run["run"].map(dict(zip(scores["run"], scores["objective"], strict=True)))
    table = of_run.groupby(["objective", "rate"])["passed"].agg(seeds="size", score="mean").reset_index()
    best = table.sort_values(["score", "rate"], ascending=[False, True]).groupby("objective").head(1)
    table["chosen"] = table.index.isin(best.index)
    return table


def rates_of(experiment: Experiment) -> pd.DataFrame:
    """``rates`` of the finished runs of stage 1."""
    return rates(experiment.scores, {run.name: run.config["optim"]["lr"] for run in experiment.runs})


def stages(second: Experiment, tuned_in: str | None) -> tuple[list[str], list[Table]]:
    """What a reader must know of how the objectives were tuned, and the table of both stages.

    Args:
        second: the comparison.
        tuned_in: the experiment of stage 1, a neighbour of ``second``; None: nothing was tuned.
    """
    if tuned_in is None:
        return [], []
    try:
        first = load_experiment(second.path.parent / tuned_in)
    except UserError as error:
        return [f"Stage 1 cannot be shown, so the learning rates are taken on trust: {error}."], []
    table = rates_of(first)
    return doubts(first, second, table), [stages_table(first, second, table)]


def doubts(first: Experiment, second: Experiment, table: pd.DataFrame) -> list[str]:
    """One sentence for each way in which stage 2 is not a fresh comparison at the chosen rates."""
    found = []
    unfinished = len(first.unfinished)
    if unfinished or table["seeds"].nunique() > 1:
        found.append(f"Stage 1 is unfinished: {unfinished} of its {len(first.every_run)} runs are missing a result.")
    chosen = table[table["chosen"]].set_index("objective")["rate"].to_dict()
    for cell in second.cells:
        run = second.runs_of(cell)[0]
        used, best = run.config["optim"]["lr"], chosen.get(run.objective)
        if used != best:
            rate = "no rate" if best is None else f"{best:g}"
            found.append(f"{second.names[cell]} trains at {used:g}, and stage 1 chose {rate} for it.")
    if seeds := {run.seed for run in first.runs} & {run.seed for run in second.runs}:
        found.append(f"The seeds {', '.join(map(str, sorted(seeds)))} belong to both stages: they are not fresh.")
    mine, theirs = set(second.scores["problem_id"]), set(first.scores["problem_id"])
    if shared := mine & theirs:
        found.append(
            f"{len(shared)} of the {len(mine)} evaluation problems also chose the rates: they are not held out."
        )
    return found


def stages_table(first: Experiment, second: Experiment, table: pd.DataFrame) -> Table:
    """A row per objective: its score at every rate of stage 1 with the choice marked, then its score in stage 2."""
    columns = sorted(table["rate"].unique())
    names = {run.objective: run.config["objective"]["label"] for run in first.runs}
    compared = {cell: last_scores(second.scores[second.scores["cell"] == cell]).mean() for cell in second.cells}
    by_objective = {second.runs_of(cell)[0].objective: score for cell, score in compared.items()}
    rows = []
    for objective in sorted(names, key=lambda name: (name != second.baseline, name)):
        group = table[table["objective"] == objective]
        at = {row.rate: f"{100 * row.score:.1f}" + " (chosen)" * row.chosen for row in group.itertuples()}
        result = f"{100 * by_objective[objective]:.1f}" if objective in by_objective else NOTHING
        rows.append((names[objective], *(at.get(rate, NOTHING) for rate in columns), result))
    note = (
        f"Pass@1 after the last step at {first.scores['context'].max():,} tokens, mean over seeds. {said_of(first, 1)} "
        f"{said_of(second, 2)} Nothing of stage 2 went back into stage 1, and a score of one stage does not compare "
        f"with a score of the other: their problems differ. {noise(first)}"
    )
    header = ("", *(f"stage 1,\nlr {rate:g}" for rate in columns), "stage 2,\nat its rate")
    return Table("tuning", "Two stages: choose a learning rate, then compare", header, tuple(rows), note)


def last_scores(scores: pd.DataFrame) -> pd.Series:
    """Pass@1 of each run after its last step at the longest context."""
    longest = scores[scores["context"] == scores["context"].max()]
    last = longest[longest["step"] == longest.groupby("run")["step"].transform("max")]
    return last.groupby("run")["passed"].mean()


def said_of(experiment: Experiment, stage: int) -> str:
    seeds = sorted({run.seed for run in experiment.runs})
    files = sorted({run.config["data"]["eval"] for run in experiment.runs})
    return (
        f"Stage {stage} (experiment={experiment.name}): {experiment.scores['problem_id'].nunique()} problems of "
        f"{', '.join(files)}, seeds {', '.join(map(str, seeds))}."
    )


def noise(first: Experiment) -> str:
    """How far two rates of one objective must differ before the choice between them is more than a draw."""
    of_run = last_scores(first.scores).rename("score").to_frame()
    of_run["cell"] = of_run.index.map({run.name: run.cell for run in first.runs})
    variance = of_run.groupby("cell")["score"].var().mean()  # NaN where no cell has two seeds
    seeds = of_run.groupby("cell").size().min()
    if math.isnan(variance):
        return "One seed per cell: whether a choice is more than a draw cannot be said."
    error = (2 * variance / seeds) ** 0.5
    return f"The standard error of a difference between two rates is {100 * error:.1f} points."


def main() -> None:
    if len(sys.argv) != 2:
        raise UserError("name the runs of stage 1: python -m ablate_analysis.tuning outputs/tuning")
    table = rates_of(load_experiment(Path(sys.argv[1])))
    if table["seeds"].nunique() > 1:
        print("the cells have different numbers of finished seeds: finish stage 1 before you choose")
    print(table.to_string(index=False, formatters={"rate": "{:g}".format, "score": "{:.3f}".format}), end="\n\n")
    for row in table[table["chosen"]].itertuples():
        words = f"experiment=tuned objective={row.objective} optim.lr={row.rate:g}"
        print(f"python -m ablate.train -m hydra/launcher=local {words}")


if __name__ == "__main__":
    run_main(main)
