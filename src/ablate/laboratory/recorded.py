"""Rollouts of a past run, back from disk as groups, with the old log-probabilities that training used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ablate.errors import UserError
from ablate.objectives import Objective
from ablate.records import RunDirectory, read_parquet
from ablate.trainer.batching import make_batch
from ablate.types import Completion, Problem, RolloutGroup, TrainBatch, Verdict, VerdictKind


@dataclass(frozen=True)
class RecordedStep:
    """One rollout batch as it was trained on; per rollout, in row order: ``old_logp`` in nats, ``optimizer_step``."""

    step: int
    groups: tuple[RolloutGroup, ...]
    old_logp: tuple[tuple[float, ...], ...]
    optimizer_step: tuple[int, ...]  # which optimizer step of the batch trained on the row, 0-based

    @property
    def num_rollouts(self) -> int:
        return sum(len(group.completions) for group in self.groups)

    @property
    def parts(self) -> list[Tensor]:
        """The rows of each optimizer step, in their order."""
        step_B = torch.tensor(self.optimizer_step)
        return [(step_B == index).nonzero()[:, 0] for index in range(max(self.optimizer_step) + 1)]

    @property
    def longest_response(self) -> int:
        return max(len(completion.response_ids) for group in self.groups for completion in group.completions)


def run_of(rollouts: Path) -> RunDirectory:
    """The run that a folder of rollouts belongs to; the run's own folder will do as well.

    Raises:
        UserError: when there is no run.
    """
    for path in (rollouts, rollouts.parent):
        if RunDirectory(path).config_path.exists():
            return RunDirectory(path)
    raise UserError(f"rollouts={rollouts} is not inside a run (no config.yaml beside it): name a run's rollouts folder")


def read_step(run: RunDirectory, step: int) -> RecordedStep:
    """Read the rollouts of one step.

    Raises:
        UserError: when they were not saved, or the file is not one of ours.
    """
    path = run.rollouts_file(step)
    if not path.exists():
        saved = sorted(int(file.stem.removeprefix("step_")) for file in run.rollouts_path.glob("step_*.parquet"))
        raise UserError(f"{run.path} has no rollouts of step {step}: it has {saved or 'none (logging.save_rollouts)'}")
    rows = read_parquet(path)
    try:
        groups = tuple(group_of(part) for part in cut_into_groups(rows))
        old_logp = tuple(tuple(row["old_logp"]) for row in rows)
        optimizer_step = tuple(row["optimizer_step"] for row in rows)
    except KeyError as error:
        raise UserError(f"{path} has no column {error}: it was not written by ablate.train") from error
    sizes = {len(group.completions) for group in groups}
    if len(sizes) != 1:
        raise UserError(f"{path} holds groups of {sorted(sizes)} rollouts: a step's groups have one size")
    return RecordedStep(step, groups, old_logp, optimizer_step)


def cut_into_groups(rows: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """A group is a run of rows of one problem; the same problem again starts with its sample number going back."""
    parts: list[list[Mapping[str, Any]]] = []
    for row in rows:
        last = parts[-1][-1] if parts else None
        if last is not None and last["problem_id"] == row["problem_id"] and last["sample"] < row["sample"]:
            parts[-1].append(row)
        else:
            parts.append([row])
    return parts


def group_of(rows: Sequence[Mapping[str, Any]]) -> RolloutGroup:
    """A recorded group. The problem's tests are not recorded, and nothing here asks for them."""
    problem = Problem(rows[0]["problem_id"], statement="", tests=(), difficulty=rows[0]["difficulty"])
    completions = tuple(
        Completion(
            problem_id=row["problem_id"],
            sample=row["sample"],
            seed=row["seed"],
            prompt_ids=tuple(row["prompt_ids"]),
            response_ids=tuple(row["response_ids"]),
            logp=tuple(row["rollout_logp"]),
            text=row["text"],
            finished=row["finished"],
        )
        for row in rows
    )
    verdicts = tuple(
        Verdict(VerdictKind(row["verdict"]), row["num_passed"], row["num_tests"], None, 0.0, 0.0, 0.0) for row in rows
    )
    return RolloutGroup(problem, completions, verdicts)


def recorded_batch(recorded: RecordedStep, objective: Objective) -> TrainBatch:
    """The step as one batch for this objective: its advantages and weights, and the recorded old log-probabilities."""
    batch = make_batch(recorded.groups, objective)
    return replace(batch, old_logp_BT=laid_out(recorded.old_logp, batch.mask_BT))


def laid_out(values: Sequence[Sequence[float]], mask_BT: Tensor) -> Tensor:
    """One list of numbers per row at the places of its response tokens, 0 elsewhere."""
    laid_BT = torch.zeros(mask_BT.shape)
    laid_BT[mask_BT] = torch.tensor([value for row in values for value in row])
    return laid_BT
