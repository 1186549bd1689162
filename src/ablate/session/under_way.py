"""What a run is doing at this moment, next to the updates of the trainer. Nothing of it is in a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from ablate.sampling import Pending, RolloutBatch
from ablate.session.state import RunState
from ablate.types import EvalRow


@dataclass(frozen=True)
class Collection:
    """The sampling of the batch of ``step``."""

    step: int
    batch: Pending[RolloutBatch] | None  # None on every rank but the leader


@dataclass(frozen=True)
class EvaluationPart:
    """The evaluation problems at one context, or the held-out problems that select the best checkpoint."""

    context: int
    is_held_out: bool
    rows: Pending[list[EvalRow]] | None  # None on every rank but the leader


@dataclass(frozen=True)
class Evaluation:
    """An evaluation of the weights after ``step``, and the metrics that the step has already."""

    step: int
    metrics: dict[str, float]
    parts: Sequence[EvaluationPart]


@dataclass
class UnderWay:
    """Owned by the loop. ``saved`` describes the newest checkpoint: its step, and whether that step is recorded."""

    collection: Collection | None = None
    evaluation: Evaluation | None = None
    writing: Future[None] | None = None  # the rollouts of the last step
    saved: tuple[int, bool] | None = None

    def is_whole(self, state: RunState, lag: int) -> bool:
        """Whether ``state`` may become a checkpoint.

        It may not while a batch that it has to hold is being sampled, nor while the evaluation of an earlier step goes
        on: the record of that step would be lost.
        """
        lacks_batch = self.collection is not None and self.collection.step <= state.step + lag
        lacks_record = self.evaluation is not None and self.evaluation.step < state.step
        return not (lacks_batch or lacks_record)
