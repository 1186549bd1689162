"""The parts of one run.

Only the leader (rank 0) has an engine, a verifier and records; every rank runs the same loop and receives the leader's
groups and decisions by broadcast.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ablate import objectives
from ablate.collector import Collector
from ablate.config import RunConfig
from ablate.display import Display
from ablate.process.preemption import Preempted
from ablate.records import RunDirectory
from ablate.records.rollouts import failed_test_rows, rows_of_step
from ablate.rollout.engine import TooFewServers
from ablate.sampling import Sampling, Started, WeightsVersion
from ablate.tracking import Mirror
from ablate.trainer.trainer import Trainer
from ablate.types import RolloutGroup, TrainBatch

if TYPE_CHECKING:
    from torch import Tensor

    from ablate.session.evaluation import Evaluation

Result = TypeVar("Result")


@dataclass
class Session:
    """The parts of one run; what touches records, engine or verifier happens on the leader only.

    The modules next to this one are what a run does with them.
    """

    config: RunConfig
    run: RunDirectory
    objective: objectives.Objective
    trainer: Trainer
    sampling: Sampling | Collector | None  # None on every rank but the leader
    display: Display
    mirror: Mirror
    received_signals: list[int]
    saved: tuple[int, bool] | None = None  # step of the newest checkpoint, and whether that step is recorded
    evaluation: Evaluation | None = None  # the one that is under way
    writer: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "ablate-rollouts"))
    writing: Future[None] | None = None  # the rollouts of the last step
    started: Started | None = None  # the collection that is under way; never called on other ranks than the leader's

    @property
    def is_leader(self) -> bool:
        return self.sampling is not None

    def timed(self, name: str, step: int, **facts: Any) -> AbstractContextManager[None]:
        """A span of the trainer's row in the trace; what the block writes goes to a directory that is still there."""
        if not self.is_leader:
            return nullcontext()
        self.run.owner.check_is_here()
        return self.run.trace.timed(name, step, **facts)

    # --- the leader's work ------------------------------------------------------------------------------------------

    def from_leader(self, work: Callable[[Sampling | Collector], Result]) -> Result:
        """Run ``work`` on the leader and return its result, which is not None, on every rank.

        Raises:
            Preempted: on every rank, if the process was asked to stop before ``work`` was done, or too few servers are
                left for it.
        """
        result: Result | None = None
        reason = Preempted()
        if self.sampling is not None:
            try:
                result = work(self.sampling)
            except TooFewServers as error:
                reason = error
                self.display.say(str(error))
            except Exception as error:
                # SIGTERM may reach the whole process group: then the engine's own process has ended too.
                if not self.received_signals:
                    raise
                self.display.say(f"asked to stop while sampling ({type(error).__name__})")
        result = self.trainer.world.broadcast(result)
        if result is None:
            raise reason
        return result

    def start(self, work: str, *arguments: Any) -> Started:
        """Begin a method of ``Sampling``; call what comes back in ``from_leader`` to have the result."""
        return nothing if self.sampling is None else self.sampling.start(work, *arguments)

    def update_engine(self, version: WeightsVersion, context_length: int) -> None:
        """Give the engine for ``context_length`` the trainer's weights, which are ``version``, unless it has them.

        Raises:
            Preempted: on every rank, if the process was asked to stop meanwhile.
        """
        while not self.has_weights(version, context_length):  # a server that dies interrupts an update
            load = None
            if self.sampling is not None:
                load = partial(self._load_weights, self.sampling, context_length, version)
            with self.timed("hand_off", version[1]):
                self.trainer.gather_weights(load)
            self.raise_if_preempted()

    def _load_weights(
        self,
        sampling: Sampling | Collector,
        context_length: int,
        version: WeightsVersion,
        weights: Iterable[tuple[str, Tensor]],
    ) -> None:
        """On the leader: an engine that SIGTERM has ended together with this process is no failure of the run."""
        try:
            sampling.load_weights(context_length, version, weights)
        except Exception as error:
            if not self.received_signals:
                raise
            self.display.say(f"asked to stop while the engine took weights ({type(error).__name__})")

    def has_weights(self, version: WeightsVersion, context_length: int) -> bool:
        with self.timed("engine", version[1]):  # starts the engine where it is not open yet
            return self.from_leader(lambda sampling: sampling.has_weights(context_length, version))

    def raise_if_preempted(self) -> None:
        """Raise ``Preempted`` on every rank after SIGTERM or SIGUSR1."""
        if self.trainer.world.broadcast(bool(self.received_signals)):
            raise Preempted

    # --- records ----------------------------------------------------------------------------------------------------

    def record(self, step: int, metrics: dict[str, float]) -> None:
        if self.is_leader:
            with self.timed("records", step):
                self.run.steps.append_metrics(step, metrics)
                self.run.owner.beat(step, sum(stage.steps for stage in self.config.context.stages))
            self.mirror.log(step, metrics)
        self.display.step(step, metrics)

    def save_rollouts(
        self, step: int, groups: list[RolloutGroup], batch: TrainBatch, rows_of_updates: list[Tensor]
    ) -> None:
        """Save what the step trained on, while the run goes on.

        Args:
            rows_of_updates: the rows of the batch that each update trained on.
        """
        if not self.is_leader or not self.config.logging.save_rollouts:
            return

        def write() -> None:
            self.run.owner.check_is_here()
            self.run.steps.write_failed_tests(step, failed_test_rows(groups))
            self.run.steps.write_rollouts(step, rows_of_step(step, groups, batch, rows_of_updates))

        self.finish_writing(step)
        self.writing = self.writer.submit(write)

    def finish_writing(self, step: int) -> None:
        """Wait until the rollouts are on disk: a checkpoint of their step vouches for them.

        Raises:
            OSError: if they could not be written.
        """
        writing, self.writing = self.writing, None
        if writing is not None:
            with self.timed("records", step):
                writing.result()


def nothing(patience_s: float = 0.0) -> None:
    """On a rank that is not the leader."""
