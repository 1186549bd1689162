"""Evaluation rows arranged into arrays: one arm is one cell at one context, after training or before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablate.errors import UserError
from ablate.types import VerdictKind
from ablate_analysis.stats import score_table

WARM_START = "warm start"


@dataclass(frozen=True)
class Arm:
    """Outcomes of one cell at one context. S runs (training seeds), P problems, N samples."""

    cell: str
    context: int
    seeds: tuple[int, ...]
    runs: tuple[str, ...]
    problem_ids: tuple[str, ...]
    passed_SPN: NDArray[np.bool_]
    finished_SPN: NDArray[np.bool_]
    verified_SPN: NDArray[np.bool_]  # False: an infrastructure error, which says nothing about the program

    def score(self, k: int) -> NDArray[np.float64]:
        """pass@k of every run on every problem, ``score_SP``."""
        return score_table(self.passed_SPN, self.verified_SPN, k)

    def take(self, indices: Sequence[int]) -> Arm:
        """The arm with only these runs, which are given by their positions along S."""
        return replace(
            self,
            seeds=tuple(self.seeds[index] for index in indices),
            runs=tuple(self.runs[index] for index in indices),
            passed_SPN=self.passed_SPN[indices],
            finished_SPN=self.finished_SPN[indices],
            verified_SPN=self.verified_SPN[indices],
        )


def arms_after_training(scores: pd.DataFrame) -> list[Arm]:
    """One arm per cell and context, from the last evaluated step of every run."""
    last = scores.groupby("run")["step"].transform("max")
    trained = scores[(scores["step"] == last) & (scores["step"] > 0)]
    return [arm_of(str(cell), rows) for (cell, _), rows in trained.groupby(["cell", "context"])]


def warm_start_arms(scores: pd.DataFrame) -> list[Arm]:
    """One arm per context from the rows before training.

    All runs start from one model, and evaluate it with one seed: equal evaluations count once, not once per run.
    """
    arms = []
    for _, rows in scores[scores["step"] == 0].groupby("context"):
        # The run stands in for the seed: two cells with the same seed are two evaluations of the same model.
        arm = arm_of(WARM_START, rows.assign(seed=rows["run"]))
        outcomes = np.stack([arm.passed_SPN, arm.finished_SPN], axis=1).reshape(len(arm.seeds), -1)
        _, first = np.unique(outcomes, axis=0, return_index=True)
        arms.append(arm.take(sorted(int(index) for index in first)))
    return arms


def arm_of(cell: str, rows: pd.DataFrame) -> Arm:
    """Arrange the rows of one cell and context into arrays.

    Raises:
        UserError: if the runs did not all answer the same problems with the same number of samples.
    """
    ordered = rows.sort_values(["seed", "problem_id", "sample"])
    seeds, problems = ordered["seed"].unique(), ordered["problem_id"].unique()
    num_samples = ordered["sample"].nunique()
    shape = (len(seeds), len(problems), num_samples)
    context = int(ordered["context"].iloc[0])
    if len(ordered) != np.prod(shape) or ordered.duplicated(["seed", "problem_id", "sample"]).any():
        raise UserError(
            f"cell {cell} at context {context}: {len(ordered)} evaluation rows are not {shape[0]} runs x {shape[1]} "
            f"problems x {shape[2]} samples: evaluate all its runs on the same problems"
        )
    runs = tuple(ordered.groupby("seed")["run"].first())
    verified_SPN = (ordered["verdict"] != VerdictKind.infrastructure_error).to_numpy(bool).reshape(shape)
    passed_SPN = ordered["passed"].to_numpy(bool).reshape(shape) & verified_SPN
    finished_SPN = ordered["finished"].to_numpy(bool).reshape(shape) & verified_SPN
    return Arm(cell, context, tuple(seeds), runs, tuple(problems), passed_SPN, finished_SPN, verified_SPN)


def check_problems(arms: Sequence[Arm]) -> None:
    for arm in arms[1:]:
        if arm.problem_ids != arms[0].problem_ids:
            raise UserError(
                f"{arm.cell} at context {arm.context} was evaluated on {len(arm.problem_ids)} problems that are not "
                f"those of {arms[0].cell} ({len(arms[0].problem_ids)}): evaluate both on the same file"
            )


def matched_arms(arms: Sequence[Arm], baseline: str) -> list[Arm]:
    """The baseline and every arm that shares a seed with it, cut to the seeds that all of them have; baseline first."""
    base = [arm for arm in arms if arm.cell == baseline]
    if not base:
        return []
    kept = [*base, *(arm for arm in arms if arm.cell != baseline and set(arm.seeds) & set(base[0].seeds))]
    num_samples = {arm.passed_SPN.shape[2] for arm in kept}
    if len(num_samples) > 1:
        raise UserError(
            f"the cells have {sorted(num_samples)} samples per problem: evaluate all of them with the same number"
        )
    shared = sorted(set.intersection(*(set(arm.seeds) for arm in kept)))
    return [arm.take([arm.seeds.index(seed) for seed in shared]) for arm in kept] if shared else []
