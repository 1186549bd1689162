"""The processes of a job and how they share one model: tensor, pipeline, context and data parallel."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from ablate.config import ParallelConfig
from ablate.trainer import cpu
from ablate.trainer.parallel.failure import Watch
from ablate.trainer.parallel.layout import check_world_size
from ablate.trainer.parallel.leader import LEADER, broadcast_from_leader, open_leader_group

cpu.import_megatron()

from megatron.core import parallel_state  # noqa: E402
from megatron.core.tensor_parallel.random import model_parallel_cuda_manual_seed  # noqa: E402

Value = TypeVar("Value")


@dataclass(frozen=True)
class World:
    """This process and its place among the others. Ranks are ordered by tensor, then context, data and pipeline."""

    rank: int
    size: int
    device: torch.device
    watch: Watch | None  # None if the job has one process
    leader_group: dist.ProcessGroup | None  # all ranks, with the patience to wait for the leader; None as above

    @property
    def is_leader(self) -> bool:
        """The rank that samples, verifies and writes records."""
        return self.rank == LEADER

    @property
    def tensor_group(self) -> dist.ProcessGroup:
        return parallel_state.get_tensor_model_parallel_group()

    @property
    def context_group(self) -> dist.ProcessGroup:
        return parallel_state.get_context_parallel_group()

    @property
    def data_group(self) -> dist.ProcessGroup:
        return parallel_state.get_data_parallel_group()

    @property
    def pipeline_group(self) -> dist.ProcessGroup:
        return parallel_state.get_pipeline_model_parallel_group()

    @property
    def speaks_for_its_rows(self) -> bool:
        """True on exactly one of the ranks that hold identical results for the same rows."""
        return self.tensor_group.rank() == 0 and self.context_group.rank() == 0

    @property
    def is_last_stage(self) -> bool:
        return self.pipeline_group.rank() == self.pipeline_group.size() - 1

    def broadcast(self, value: Value) -> Value:
        """Return the leader's ``value`` (anything that pickles) on every rank; other ranks' arguments are ignored."""
        return value if self.leader_group is None else broadcast_from_leader(value, self.leader_group)

    def gathered(self, value: Value) -> list[Value]:
        """What every rank gave, in order of ranks, on every rank; returns when all have come."""
        if self.leader_group is None:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self.leader_group)
        return values

    def sum_over_ranks(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sum in place over all ranks."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor


def open_world(parallel: ParallelConfig) -> World:
    """Join the processes of the job (from torchrun's environment, or one process) and make the model's groups.

    If the default process group exists already (vLLM opens one in its process), it is used as it is. A process may
    call this again with another layout of the same processes.

    Raises:
        UserError: when the number of processes does not fit ``parallel``.
    """
    size = dist.get_world_size() if dist.is_initialized() else int(os.environ.get("WORLD_SIZE", "1"))
    check_world_size(parallel, size)
    device = own_device()
    torch.set_num_threads(threads_of_rank(parallel.num_threads, device))
    if not dist.is_initialized():
        open_process_group(size, timedelta(seconds=parallel.collective_timeout_s), device)
    watch = watch_others(dist.get_rank(), size, parallel.silence_s) if size > 1 else None
    leader_group = open_leader_group(parallel.leader_timeout_s) if size > 1 else None
    with cpu.answering_for_cuda():
        make_groups(parallel)
    return World(rank=dist.get_rank(), size=size, device=device, watch=watch, leader_group=leader_group)


@functools.cache
def watch_others(rank: int, size: int, silence_s: float) -> Watch:
    return Watch(rank, size, silence_s)


def threads_of_rank(num_threads: int, device: torch.device) -> int:
    """Threads for this rank's work on the CPU: batches, metrics and checkpoints, next to a GPU.

    On a CPU it is ``num_threads`` exactly, because the order of a sum may depend on it. Next to a GPU the ranks of a
    node share the CPUs that they may use.
    """
    if device.type == "cpu":
        return num_threads
    return max(1, min(num_threads, len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def own_device() -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


def open_process_group(size: int, timeout: timedelta, device: torch.device) -> None:
    backend = "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl"
    if size > 1:
        dist.init_process_group(backend, timeout=timeout)  # torchrun's RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT
    else:
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1, timeout=timeout)


def make_groups(parallel: ParallelConfig) -> None:
    sizes = (parallel.tensor, parallel.pipeline, parallel.context)
    if parallel_state.is_initialized():
        now = (
            parallel_state.get_tensor_model_parallel_world_size(),
            parallel_state.get_pipeline_model_parallel_world_size(),
            parallel_state.get_context_parallel_world_size(),
        )
        if now == sizes:
            return
        parallel_state.destroy_model_parallel()
    parallel_state.initialize_model_parallel(
        tensor_model_parallel_size=parallel.tensor,
        pipeline_model_parallel_size=parallel.pipeline,
        context_parallel_size=parallel.context,
        distributed_timeout_minutes=max(1, round(parallel.collective_timeout_s / 60)),
    )
    # Megatron's dropout and recomputation fork these streams; our models have no dropout, so the seed changes nothing.
    state = torch.get_rng_state()
    model_parallel_cuda_manual_seed(0, force_reset_rng=True)
    torch.set_rng_state(state)
