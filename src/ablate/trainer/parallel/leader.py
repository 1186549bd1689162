"""The one wait of a job that may take hours: rank 0 samples and verifies while the other ranks wait for the result."""

from __future__ import annotations

import functools
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist

Value = TypeVar("Value")

LEADER = 0


@functools.cache
def open_leader_group(timeout_s: float) -> dist.ProcessGroup:
    """A group of all ranks with its own timeout, because a collective of the trainer that hangs must end in minutes."""
    return dist.new_group(backend="gloo", timeout=timedelta(seconds=timeout_s))


def broadcast_from_leader(value: Value, group: dist.ProcessGroup) -> Value:
    """Return the leader's ``value`` (anything that pickles) on every rank; other ranks' arguments are ignored."""
    box: list[Any] = [value if dist.get_rank() == LEADER else None]
    dist.broadcast_object_list(box, src=LEADER, group=group)
    return box[0]
