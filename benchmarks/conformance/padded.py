"""What all adapters share: a batch as padded tensors, and how micro-batches add up. Runs in a trainer's environment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

WIDTH = 64  # columns of the padded tensors, and the constant of constant_length


class Padded:
    """A batch as right-padded float64 tensors, with our advantages. Rows of a later update have advantage 0."""

    def __init__(self, batch: dict[str, Any], advantage: Sequence[Sequence[float]]) -> None:
        self.lengths = torch.tensor([count for group in batch["length"] for count in group])
        self.mask = torch.arange(WIDTH) < self.lengths[:, None]
        self.size = batch["group_size"]
        self.group = torch.arange(len(self.lengths)) // self.size
        self.reward = torch.tensor(batch["reward"], dtype=torch.float64).flatten()
        self.truncated = torch.tensor(batch["truncated"]).flatten()
        given = torch.tensor(advantage, dtype=torch.float64).flatten()
        self.num_updated = len(given)
        self.advantage = torch.zeros_like(self.reward)
        self.advantage[: len(given)] = given
        self.old_logp, self.logp, self.rollout_logp, self.ref_logp = (
            padded(batch[name]) for name in ("old_logp", "logp", "rollout_logp", "ref_logp")
        )

    @property
    def dense(self) -> Tensor:
        """The advantage of every token."""
        return self.advantage[:, None].expand(-1, WIDTH) * self.mask

    @property
    def kept(self) -> Tensor:
        """The mask without truncated rows."""
        return self.mask & ~self.truncated[:, None]

    @property
    def token_rewards(self) -> Tensor:
        """The reward of a response on its last token."""
        rewards = torch.zeros_like(self.old_logp)
        rewards[torch.arange(len(self.lengths)), self.lengths - 1] = self.reward
        return rewards


def padded(rows: Sequence[Sequence[float]]) -> Tensor:
    full = torch.zeros(len(rows), WIDTH, dtype=torch.float64)
    for place, row in enumerate(rows):
        full[place, : len(row)] = torch.tensor(row, dtype=torch.float64)
    return full


def accumulate(
    batch: Padded, split: Sequence[Sequence[int]], loss_of: Callable[[Tensor, Tensor], Tensor]
) -> list[list[float]]:
    """The gradient by row of the sum of ``loss_of(rows, logp)`` over the micro-batches."""
    logp = batch.logp.clone().requires_grad_()
    sum(loss_of(torch.tensor(rows), logp[rows]) for rows in split).backward()
    return [logp.grad[place, : int(count)].tolist() for place, count in enumerate(batch.lengths)]


def same(value: Any, *rest: Any, **options: Any) -> Any:
    """Stands for a function of many processes on one process."""
    return value


@dataclass(frozen=True)
class Peer:
    """An opened trainer: its version, and its functions on our batches.

    ``loss`` returns None for a split that its trainer cannot make.
    """

    version: str
    advantage: Callable[[Padded, dict[str, Any]], list[float]]
    loss: Callable[[Padded, list[list[int]], dict[str, Any]], list[list[float]] | None]
