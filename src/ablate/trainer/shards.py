"""A trainer's state as Megatron's distributed checkpoint (torch_dist): weights, optimizer, place in the schedule."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.trainer import cpu

cpu.import_megatron()

from megatron.core import dist_checkpointing  # noqa: E402
from megatron.core.dist_checkpointing.strategies import filesystem_async  # noqa: E402
from megatron.core.dist_checkpointing.strategies.async_utils import AsyncCallsQueue  # noqa: E402
from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer  # noqa: E402

if TYPE_CHECKING:
    from ablate.trainer.model import PolicyModel
    from ablate.trainer.step import Trainer

# Gathers the optimizer's shards into whole parameters, so that tensor and pipeline sizes may change on loading too.
METADATA = {"distrib_optim_sharding_type": "fully_reshardable", "chained_optim_avoid_prefix": True}


class Writing:
    """A save under way. ``wait`` returns when every rank's files are on disk."""

    def __init__(self, calls: AsyncCallsQueue | None) -> None:
        self._calls = calls

    def wait(self) -> None:
        if self._calls is not None:
            with cpu.answering_for_cuda():
                self._calls.maybe_finalize_async_calls(blocking=True)
                self._calls.close()


def write(trainer: Trainer, directory: Path, asynchronous: bool) -> Writing:
    """Write this rank's share into ``directory``, which exists and is empty.

    An asynchronous save writes from a forked copy of this process; what is trained meanwhile does not reach it.
    """
    with cpu.answering_for_cuda():
        state = sharded_state(trainer, is_loading=False)
        if not asynchronous:
            with results_in_this_process():
                dist_checkpointing.save(state, str(directory), content_metadata=METADATA)
            return Writing(None)
        request = dist_checkpointing.save(state, str(directory), async_sharded_save=True, content_metadata=METADATA)
        calls = AsyncCallsQueue(persistent=False)
        calls.schedule_async_request(request)
        return Writing(calls)


def read(trainer: Trainer, directory: Path) -> None:
    """Load a checkpoint of the same model, written under any layout, into ``trainer``."""
    with cpu.answering_for_cuda():
        for optimizer in distributed_optimizers(trainer):
            # Without states there is nothing for the loaded ones to be put into.
            optimizer._init_optimizer_states_with_dummy_values()
            expect_no_step(optimizer)
        state = dist_checkpointing.load(sharded_state(trainer, is_loading=True), str(directory))
        trainer.model.load_state_dict(state["model"])
        trainer.optimizer.load_state_dict(state["optimizer"])
        for optimizer in distributed_optimizers(trainer):
            restore_step_count(optimizer, state["num_optimizer_steps"])
    trainer.scheduler.num_steps = state["num_optimizer_steps"]
    trainer.scheduler.step(increment=0)  # puts the learning rate of this step into the optimizer


def read_weights(model: PolicyModel, directory: Path) -> None:
    """Load the weights alone, without an optimizer to put the rest into."""
    with cpu.answering_for_cuda():
        state = {"model": model.sharded_state_dict(metadata=METADATA)}
        model.load_state_dict(dist_checkpointing.load(state, str(directory))["model"])


def sharded_state(trainer: Trainer, is_loading: bool) -> dict[str, Any]:
    model = trainer.model.sharded_state_dict(metadata=METADATA)
    optimizer = trainer.optimizer.sharded_state_dict(model, is_loading=is_loading, metadata=METADATA)
    return {"model": model, "optimizer": optimizer, "num_optimizer_steps": trainer.scheduler.num_steps}


def distributed_optimizers(trainer: Trainer) -> list[DistributedOptimizer]:
    chained = getattr(trainer.optimizer, "chained_optimizers", [trainer.optimizer])
    return [optimizer for optimizer in chained if isinstance(optimizer, DistributedOptimizer)]


def expect_no_step(optimizer: DistributedOptimizer) -> None:
    """A checkpoint holds no ``step`` per parameter, but Megatron looks for every key of torch's AdamW state."""
    set_states = DistributedOptimizer._set_main_param_and_optimizer_states

    def set_states_but_step(model_param: Any, tensors: dict[str, Any]) -> None:
        own = optimizer._get_main_param_and_optimizer_states(model_param)
        set_states(optimizer, model_param, {**{key: own[key] for key in ("step",) if key in own}, **tensors})

    optimizer._set_main_param_and_optimizer_states = set_states_but_step


def restore_step_count(optimizer: DistributedOptimizer, num_steps: int) -> None:
    """torch's AdamW counts steps in its state, where Megatron leaves a dummy: its bias correction would be off."""
    for state in optimizer.optimizer.state.values():
        if "step" in state:
            state["step"].fill_(num_steps)


@contextlib.contextmanager
def results_in_this_process() -> Iterator[None]:
    """Collect what a synchronous save wrote in a plain queue.

    Megatron would start a manager process, which imports the main script once more (seconds) and outlives a kill.
    """
    before, filesystem_async._results_queue = filesystem_async._results_queue, queue.Queue()
    try:
        yield
    finally:
        filesystem_async._results_queue = before
