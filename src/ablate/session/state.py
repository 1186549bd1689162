"""Where a run stands, as objects in memory and as plain values in a checkpoint."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import Any

import torch

from ablate.sampling import RolloutBatch, WeightsVersion
from ablate.types import Completion, Problem, RolloutGroup, Verdict, VerdictKind


@dataclass
class RunState:
    """Where a run stands: what a checkpoint holds, and nothing else.

    ``scores`` holds Pass@1 at ``eval.select_at`` by step, for every evaluation of the present stage. ``unrecorded``
    holds the metrics of ``step`` until its evaluation is complete and the step is recorded; else it is None. ``ahead``
    holds the batches of the steps after ``step``, in order: at lag k they were sampled from older weights than those
    after ``step``, so they could not be sampled again.
    """

    step: int = 0
    stage: int = 0
    problem_order: dict[str, Any] | None = None  # after the batch of ``step``
    scores: dict[int, float] = field(default_factory=dict)
    unrecorded: dict[str, float] | None = None
    ahead: tuple[RolloutBatch, ...] = ()

    @property
    def best_step(self) -> int | None:
        """The step with the best score of the stage; ties go to the later step."""
        return max(self.scores, key=lambda step: (self.scores[step], step), default=None)

    @property
    def weights_version(self) -> WeightsVersion:
        """Names the trainer's weights; a stage may begin with other weights than the step before it ended with."""
        return self.stage, self.step

    @property
    def next_batch_step(self) -> int:
        """The first step whose batch is not here."""
        return self.step + len(self.ahead) + 1

    @property
    def next_problem_order(self) -> dict[str, Any] | None:
        """The order of problems before the batch of ``next_batch_step``."""
        return self.ahead[-1].problem_order if self.ahead else self.problem_order

    def as_plain(self) -> dict[str, Any]:
        """Numbers, strings, tensors, and dicts and lists of them."""
        names = ("step", "stage", "problem_order", "scores", "unrecorded")
        return {**{name: getattr(self, name) for name in names}, "ahead": [plain_batch(each) for each in self.ahead]}

    @classmethod
    def of_plain(cls, plain: dict[str, Any]) -> RunState:
        """The inverse of ``as_plain``."""
        return cls(**{**plain, "ahead": tuple(batch_of_plain(each) for each in plain["ahead"])})


def plain_batch(batch: RolloutBatch) -> dict[str, Any]:
    """Every field of a batch, so that no record of its step lacks one; its problems come without their tests."""
    groups = [
        {
            "problem": {**vars(group.problem), "tests": ()},
            "completions": [plain_completion(completion) for completion in group.completions],
            "verdicts": [{**vars(verdict), "kind": str(verdict.kind)} for verdict in group.verdicts],
        }
        for group in batch.groups
    ]
    return {"groups": groups, "metrics": batch.metrics, "problem_order": batch.problem_order}


def plain_completion(completion: Completion) -> dict[str, Any]:
    ids = {name: torch.tensor(getattr(completion, name), dtype=torch.int32) for name in ("prompt_ids", "response_ids")}
    return {**vars(completion), **ids, "logp": torch.tensor(completion.logp, dtype=torch.float64)}


def batch_of_plain(plain: dict[str, Any]) -> RolloutBatch:
    """The inverse of ``plain_batch``."""
    return RolloutBatch([group_of_plain(group) for group in plain["groups"]], plain["metrics"], plain["problem_order"])


def group_of_plain(plain: dict[str, Any]) -> RolloutGroup:
    return RolloutGroup(
        Problem(**plain["problem"]),
        tuple(completion_of_plain(each) for each in plain["completions"]),
        tuple(Verdict(**{**each, "kind": VerdictKind(each["kind"])}) for each in plain["verdicts"]),
    )


def completion_of_plain(plain: dict[str, Any]) -> Completion:
    arrays = {name: array(code, plain[name].tolist()) for name, code in (("response_ids", "i"), ("logp", "d"))}
    return Completion(**{**plain, **arrays, "prompt_ids": tuple(plain["prompt_ids"].tolist())})
