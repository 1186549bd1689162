"""The rollouts of one step on disk: one parquet row per rollout, written by training and read back as groups."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ablate.errors import UserError
from ablate.files.parquet import read_parquet
from ablate.records.groups import cut_into_groups, of_problem, of_verdict
from ablate.records.run import RunDirectory
from ablate.types import Completion, Problem, RolloutGroup, TrainBatch, Verdict, VerdictKind


@dataclass(frozen=True)
class RecordedStep:
    """One rollout batch as it was trained on; per rollout, in row order: ``old_logp`` in nats, ``update``."""

    step: int
    groups: tuple[RolloutGroup, ...]
    old_logp: tuple[tuple[float, ...], ...]
    update: tuple[int, ...]  # index, within the batch, of the update that trained on the row

    @property
    def num_rollouts(self) -> int:
        return sum(len(group.completions) for group in self.groups)

    @property
    def rows_of_updates(self) -> list[Tensor]:
        """The rows that each update trained on, in the order of the updates."""
        update_B = torch.tensor(self.update)
        return [(update_B == index).nonzero()[:, 0] for index in range(max(self.update) + 1)]

    @property
    def longest_response(self) -> int:
        return max(len(completion.response_ids) for group in self.groups for completion in group.completions)


def rows_of_step(
    step: int, groups: Sequence[RolloutGroup], batch: TrainBatch, rows_of_updates: Sequence[Tensor]
) -> list[dict[str, Any]]:
    """One row per rollout, in the order of the batch: what was sampled, its verdict, and how it was trained on.

    Args:
        rows_of_updates: the rows of ``batch`` that each update trained on.
    """
    sampled = [{"group": index} | row for index, group in enumerate(groups) for row in sampled_rows(group)]
    trained = trained_rows(batch, rows_of_updates)
    return [{"step": step} | left | right for left, right in zip(sampled, trained, strict=True)]


def sampled_rows(group: RolloutGroup) -> Iterator[dict[str, Any]]:
    """The completions and verdicts of a group."""
    for completion, verdict, reward in zip(group.completions, group.verdicts, group.rewards, strict=True):
        own = {
            "seed": completion.seed,
            # Arrays, because millions of Python numbers would hold the interpreter's lock for seconds.
            "prompt_ids": np.asarray(completion.prompt_ids, dtype=np.int64),
            "response_ids": np.asarray(completion.response_ids, dtype=np.int64),
            "rollout_logp": np.asarray(completion.logp, dtype=np.float64),
            "text": completion.text,
            "finished": completion.finished,
            "reward": reward,
        }
        yield of_problem(group.problem, completion) | own | of_verdict(verdict)


def trained_rows(batch: TrainBatch, rows_of_updates: Sequence[Tensor]) -> Iterator[dict[str, Any]]:
    """What the trainer computed for each row of the batch."""
    update_of_row = {int(row): index for index, rows in enumerate(rows_of_updates) for row in rows}
    for row in range(batch.num_rows):
        yield {
            "old_logp": batch.old_logp_BT[row][batch.mask_BT[row]].double().numpy(),
            "advantage": batch.advantage_B[row].item(),
            "in_loss": bool(batch.in_loss_B[row]),
            "update": update_of_row[row],
        }


def read_step(run: RunDirectory, step: int) -> RecordedStep:
    """Read the rollouts of one step.

    Raises:
        UserError: when the run did not save them, or the file was not written by ``ablate.train``.
    """
    path = run.steps.rollouts_file(step)
    if not path.exists():
        saved = sorted(int(file.stem.removeprefix("step_")) for file in run.steps.rollouts_path.glob("step_*.parquet"))
        raise UserError(f"{run.path} has no rollouts of step {step}: it has {saved or 'none (logging.save_rollouts)'}")
    rows = read_parquet(path)
    try:
        groups = tuple(group_of(group_rows) for group_rows in cut_into_groups(rows))
        old_logp = tuple(tuple(row["old_logp"]) for row in rows)
        update = tuple(row["update"] for row in rows)
    except KeyError as error:
        raise UserError(f"{path} has no column {error}: it was not written by ablate.train") from error
    sizes = {len(group.completions) for group in groups}
    if len(sizes) != 1:
        raise UserError(f"{path} holds groups of {sorted(sizes)} rollouts: the groups of one step must have one size")
    return RecordedStep(step, groups, old_logp, update)


def group_of(rows: Sequence[Mapping[str, Any]]) -> RolloutGroup:
    """Rebuild a group from its rows. The problem has no tests: they are not recorded, and no reader needs them."""
    statement = rows[0].get("statement", "")  # older records have none
    problem = Problem(rows[0]["problem_id"], statement, tests=(), difficulty=rows[0]["difficulty"])
    completions = tuple(
        Completion(
            problem_id=row["problem_id"],
            sample=row["sample"],
            seed=row["seed"],
            prompt_ids=tuple(row["prompt_ids"]),
            response_ids=array("i", row["response_ids"]),
            logp=array("d", row["rollout_logp"]),
            text=row["text"],
            finished=row["finished"],
            prompt_text=row.get("prompt", ""),
        )
        for row in rows
    )
    verdicts = tuple(
        Verdict(VerdictKind(row["verdict"]), row["num_passed"], row["num_tests"], None, 0.0, 0.0, 0.0) for row in rows
    )
    return RolloutGroup(problem, completions, verdicts)
