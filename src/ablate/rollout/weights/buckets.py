"""Weights as a few large messages, and the process group that carries them: gloo on CPUs, NCCL on GPUs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from math import prod
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

ALIGNMENT = 16  # bytes: a view of a buffer has to begin at a multiple of its element size
SENDER = 0  # rank of the trainer's leader in the group


@dataclass(frozen=True)
class MessageLayout:
    """What one message holds, in order.

    Example: ``MessageLayout(names=("lm_head.weight",), dtypes=("bfloat16",), shapes=((151936, 5120),))``
    """

    names: tuple[str, ...]
    dtypes: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def num_bytes(self) -> int:
        return self.spans()[-1][1] if self.names else 0

    def spans(self) -> list[tuple[int, int]]:
        """The first byte of each tensor, and the first byte after its padding."""
        spans, begin = [], 0
        for dtype, shape in zip(self.dtypes, self.shapes, strict=True):
            end = begin + padded(prod(shape) * getattr(torch, dtype).itemsize)
            spans.append((begin, end))
            begin = end
        return spans


def padded(num_bytes: int) -> int:
    return -(-num_bytes // ALIGNMENT) * ALIGNMENT


def buckets(
    weights: Iterable[tuple[str, Tensor]], num_bytes: float, device: torch.device | None = None
) -> Iterator[tuple[MessageLayout, Tensor]]:
    """Gather ``(Hugging Face name, tensor)`` pairs while they fit ``num_bytes``, then yield them as one message.

    A tensor larger than that is a message of its own. No other message is larger, so the receivers need to find room
    for the largest tensor only.

    Args:
        device: where the message has to be; None for the device of its first tensor.

    Reading the next pair may be a collective of the trainer's ranks. No message is on its way at that time, because two
    groups that wait for each other's ranks would hang.
    """
    waiting: list[tuple[str, Tensor]] = []
    size = 0
    for name, tensor in weights:
        if waiting and size + padded(tensor.nbytes) > num_bytes:
            yield packed(waiting, device)
            waiting, size = [], 0
        waiting.append((name, tensor.detach()))
        size += padded(tensor.nbytes)
    if waiting:
        yield packed(waiting, device)


def packed(weights: list[tuple[str, Tensor]], device: torch.device | None = None) -> tuple[MessageLayout, Tensor]:
    """The layout of these tensors and their bytes in one buffer."""
    layout = MessageLayout(
        names=tuple(name for name, _ in weights),
        dtypes=tuple(str(tensor.dtype).removeprefix("torch.") for _, tensor in weights),
        shapes=tuple(tuple(tensor.shape) for _, tensor in weights),
    )
    buffer = torch.empty(layout.num_bytes, dtype=torch.uint8, device=device or weights[0][1].device)
    for (_, view), (_, tensor) in zip(unpacked(layout, buffer), weights, strict=True):
        view.copy_(tensor)
    return layout, buffer


def unpacked(layout: MessageLayout, buffer: Tensor) -> list[tuple[str, Tensor]]:
    """``(Hugging Face name, tensor)`` pairs that share the buffer's memory."""
    pairs = []
    for name, dtype, shape, (begin, _) in zip(layout.names, layout.dtypes, layout.shapes, layout.spans(), strict=True):
        torch_dtype = getattr(torch, dtype)
        end = begin + prod(shape) * torch_dtype.itemsize
        pairs.append((name, buffer[begin:end].view(torch_dtype).view(shape)))
    return pairs


@dataclass(frozen=True)
class Group:
    """The trainer's leader and every worker of every server."""

    backend: Any  # torch's ProcessGroupGloo or ProcessGroupNCCL, outside the default group of this process
    timeout: timedelta

    def broadcast(self, buffer: Tensor) -> None:
        """Send or receive a message.

        Raises:
            RuntimeError: if a peer is gone, or did not take part before the timeout.
        """
        options = dist.BroadcastOptions()
        options.rootRank = SENDER
        self.backend.broadcast([buffer], options).wait(self.timeout)  # with a timeout NCCL's wait blocks too


def open_group(store: dist.Store, rank: int, size: int, device: torch.device, timeout_s: float) -> Group:
    """Join the group that meets at ``store``; returns when all ``size`` members are there.

    Raises:
        RuntimeError: if they are not there before the timeout.
    """
    timeout = timedelta(seconds=timeout_s)
    if device.type == "cpu":
        return Group(dist.ProcessGroupGloo(store, rank, size, timeout), timeout)
    options = dist.ProcessGroupNCCL.Options()
    options._timeout = timeout
    with blocking_waits():
        return Group(dist.ProcessGroupNCCL(store, rank, size, options), timeout)


@contextmanager
def blocking_waits() -> Iterator[None]:
    """NCCL groups that open in the block have no watchdog: ``wait`` looks for errors and the timeout itself.

    A watchdog ends its process a minute after an error (std::terminate), although the caller got the error too. So one
    server that fails in a transfer would take the trainer and all other servers with it.
    """
    name = "TORCH_NCCL_BLOCKING_WAIT"  # the constructor reads it
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
