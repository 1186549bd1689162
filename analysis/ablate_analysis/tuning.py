"""Stage 1 of a tuned comparison: which learning rate each objective gets (experiments/tuned/README.md).

    python -m ablate_analysis.tuning outputs/tuning

prints the mean score of every cell, and the command that trains each objective at its chosen rate in stage 2.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from ablate.cli import run_main
from ablate.errors import UserError
from ablate_analysis.load import load_experiment


def rates(scores: pd.DataFrame, rate_of: dict[str, float]) -> pd.DataFrame:
    """One row per cell: objective, rate, seeds, score (mean Pass@1 of the last step at the longest context), chosen.

    Args:
        scores: rows of evaluation samples, as ``Experiment.scores``.
        rate_of: run -> its learning rate.

    The highest score is chosen for each objective; ties go to the lower rate.
    """
    longest = scores[scores["context"] == scores["context"].max()]
    last = longest[longest["step"] == longest.groupby("run")["step"].transform("max")]
    of_run = last.groupby(["objective", "run"])["passed"].mean().reset_index()
    of_run["rate"] = of_run["run"].map(rate_of)
    table = of_run.groupby(["objective", "rate"])["passed"].agg(seeds="size", score="mean").reset_index()
    best = table.sort_values(["score", "rate"], ascending=[False, True]).groupby("objective").head(1)
    table["chosen"] = table.index.isin(best.index)
    return table


def main() -> None:
    if len(sys.argv) != 2:
        raise UserError("name the runs of stage 1: python -m ablate_analysis.tuning outputs/tuning")
    experiment = load_experiment(Path(sys.argv[1]))
    table = rates(experiment.scores, {run.name: run.config["optim"]["lr"] for run in experiment.runs})
    if table["seeds"].nunique() > 1:
        print("the cells have different numbers of finished seeds: finish stage 1 before you choose")
    print(table.to_string(index=False, formatters={"rate": "{:g}".format, "score": "{:.3f}".format}), end="\n\n")
    for row in table[table["chosen"]].itertuples():
        words = f"experiment=tuned objective={row.objective} optim.lr={row.rate:g}"
        print(f"python -m ablate.train -m hydra/launcher=local {words}")


if __name__ == "__main__":
    run_main(main)
