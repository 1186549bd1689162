"""Every collective that a rank takes part in, in order, and the first one in which the ranks of a group disagree.

NCCL does not notice that two members of a group call different collectives, or the same one with other shapes: it
hangs, or returns garbage. So the log of each member is compared with the logs of the others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

SEND, RECEIVE = "send", "recv_"
WITHOUT_DATA = ("barrier", "monitored_barrier_")  # what their tensors hold is the backend's own affair


@dataclass(frozen=True)
class Call:
    """One collective as one rank called it.

    Example: ``Call("logp", "3", (0, 1), "allreduce_", ("float32 (4,)",), ())`` in a tensor group of two.
    """

    phase: str  # what the trainer was asked to do
    group: str  # its name, the same on every member
    ranks: tuple[int, ...]  # the members, by their rank in the job
    operation: str
    tensors: tuple[str, ...]
    settings: tuple[str, ...]  # the root, or the peer of a message

    def __str__(self) -> str:
        return f"{self.operation}{list(self.tensors)} {' '.join(self.settings)} in group {self.group} ({self.phase})"


class CollectiveLog(TorchDispatchMode):
    """Records the calls of this thread, those of backward passes included."""

    def __init__(self) -> None:
        super().__init__()
        self.phase = ""
        self.calls: list[Call] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "c10d":
            self.calls.append(call_of(func, args, self.phase))
        return func(*args, **(kwargs or {}))


def call_of(func: Any, args: Sequence[Any], phase: str) -> Call:
    operation = func._schema.name.removeprefix("c10d::")
    named = dict(zip((argument.name for argument in func._schema.arguments), args, strict=False))
    group = dist.ProcessGroup.unbox(named["process_group"])
    found = (described(leaf) for leaf in tree_leaves(args) if isinstance(leaf, torch.Tensor))
    roots = [f"{name}={named[name]}" for name in ("root_rank", "dst", "src") if name in named]
    return Call(
        phase,
        group.group_name,
        tuple(dist.get_process_group_ranks(group)),
        operation,
        () if operation in WITHOUT_DATA else tuple(dict.fromkeys(found)),  # only a root names a tensor of each member
        tuple(roots),
    )


def described(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def first_disagreement(logs: Sequence[Sequence[Call]]) -> str | None:
    """Say where two ranks would wait for each other for ever; None if all ranks agree.

    Args:
        logs: of every rank of the job, by rank.
    """
    return first_different_collective(logs) or first_unanswered_message(logs)


def first_different_collective(logs: Sequence[Sequence[Call]]) -> str | None:
    """In every group each member has to make the same calls in the same order."""
    by_group: dict[tuple[str, tuple[int, ...]], dict[int, list[Call]]] = defaultdict(lambda: defaultdict(list))
    for rank, log in enumerate(logs):
        for call in log:
            if call.operation not in (SEND, RECEIVE):
                by_group[call.group, call.ranks][rank].append(call)
    for (group, ranks), of_rank in by_group.items():
        first = ranks[0]
        for other in ranks[1:]:
            problem = different(of_rank[first], of_rank[other])
            if problem:
                return f"ranks {first} and {other} of group {group} disagree: {problem}"
    return None


def first_unanswered_message(logs: Sequence[Sequence[Call]]) -> str | None:
    """Between two ranks each message has to be received in the form in which it was sent."""
    sent: dict[tuple[str, int, int], list[Call]] = defaultdict(list)
    received: dict[tuple[str, int, int], list[Call]] = defaultdict(list)
    for rank, log in enumerate(logs):
        for call in log:
            if call.operation in (SEND, RECEIVE):
                peer = call.ranks[int(call.settings[0].split("=")[1])]
                if call.operation == SEND:
                    sent[call.group, rank, peer].append(call)
                else:
                    received[call.group, peer, rank].append(call)
    for key in {**sent, **received}:
        _, source, target = key
        problem = different(*([call.tensors for call in calls] for calls in (sent[key], received[key])))
        if problem:
            return f"messages from rank {source} to rank {target} disagree: {problem}"
    return None


def different(ours: Sequence[Any], theirs: Sequence[Any]) -> str | None:
    for index, (mine, other) in enumerate(zip(ours, theirs, strict=False)):
        if mine != other:
            return f"call {index} is {mine} on one and {other} on the other"
    if len(ours) != len(theirs):
        shorter, longer = sorted((ours, theirs), key=len)
        return f"one makes {len(shorter)} calls, the other {len(longer)}, next {longer[len(shorter)]}"
    return None
