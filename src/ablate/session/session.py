"""The parts of one run.

Only the leader (rank 0) has an engine, a verifier and records; every rank runs the same loop and receives the leader's
groups and decisions by broadcast.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ablate import objectives
from ablate.config import RunConfig
from ablate.display import Display
from ablate.process.preemption import Preempted
from ablate.records import RunDirectory
from ablate.rollout.engine import TooFewServers
from ablate.rollout.weights.shared import SharedHandOff
from ablate.sampling import RolloutSide, WeightsVersion
from ablate.tracking import Mirror
from ablate.trainer.trainer import Trainer

if TYPE_CHECKING:
    from torch import Tensor

Result = TypeVar("Result")


@dataclass(frozen=True)
class Session:
    """The parts of one run; what touches records, engine or verifier happens on the leader only.

    The modules next to this one are what a run does with them; ``RunState`` and ``UnderWay`` are what changes.
    """

    config: RunConfig
    run: RunDirectory
    objective: objectives.Objective
    trainer: Trainer
    sampling: RolloutSide | None  # None on every rank but the leader
    display: Display
    mirror: Mirror
    received_signals: list[int]
    shared: SharedHandOff | None = None  # with servers on the trainer's GPUs
    writer: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "ablate-rollouts"))

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

    def from_leader(self, work: Callable[[], Result]) -> Result:
        """Run ``work`` on the leader and return its result, which is not None, on every rank.

        Raises:
            Preempted: on every rank, if the process was preempted before ``work`` was done, or too few servers are
                left for it.
        """
        result: Result | None = None
        reason = Preempted()
        if self.sampling is not None:
            try:
                result = work()
            except TooFewServers as error:
                reason = error
                self.display.say(str(error))
            except Exception as error:
                # SIGTERM may reach the whole process group: then the engine's own process has ended too.
                if not self.received_signals:
                    raise
                self.display.say(f"preempted while sampling ({type(error).__name__})")
        result = self.trainer.world.broadcast(result)
        if result is None:
            raise reason
        return result

    def update_engine(self, version: WeightsVersion, context_length: int) -> None:
        """Give the engine for ``context_length`` the trainer's weights, which are ``version``, unless it has them.

        Raises:
            Preempted: on every rank, if the process was preempted meanwhile.
        """
        while not self.has_weights(version, context_length):  # a server that dies interrupts an update
            load = None
            if self.sampling is not None:
                load = partial(self._load_weights, self.sampling, context_length, version)
            with self.timed("hand_off", version[1]):
                if self.shared is None:
                    self.trainer.gather_weights(load)
                else:
                    self.trainer.free_gradients()
                    self.shared.wait_for_all()
                    self.trainer.gather_weights(load, self.shared.messages)
            self.raise_if_preempted()

    def let_servers_sleep(self, step: int) -> None:
        """Where servers share the trainer's GPUs: they free the memory, on every machine before a rank goes on.

        Raises:
            Preempted: on every rank, if a server may hold its memory all the same.
        """
        if self.shared is not None:
            with self.timed("sleep", step):
                self.from_leader(lambda: self.sampling.sleep())

    def _load_weights(
        self,
        sampling: RolloutSide,
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
            self.display.say(f"preempted while the engine took weights ({type(error).__name__})")

    def has_weights(self, version: WeightsVersion, context_length: int) -> bool:
        with self.timed("engine", version[1]):  # starts the engine where it is not open yet
            return self.from_leader(lambda: self.sampling.has_weights(context_length, version))

    def raise_if_preempted(self) -> None:
        """Raise ``Preempted`` on every rank after SIGTERM or SIGUSR1."""
        if self.trainer.world.broadcast(bool(self.received_signals)):
            raise Preempted

    # --- records ----------------------------------------------------------------------------------------------------

    def record(self, step: int, metrics: dict[str, float]) -> None:
        if self.is_leader:
            with self.timed("records", step):
                self.run.steps.append_metrics(step, metrics)
                self.run.owner.beat(step, self.config.context.num_steps)
            self.mirror.log(step, metrics)
        self.display.step(step, metrics)
