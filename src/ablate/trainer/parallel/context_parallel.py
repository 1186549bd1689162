"""Context parallelism: the tokens of every row split over processes, and joined where a whole row is needed.

A row is cut into 2 x C equal parts for C processes; process c holds parts c and 2C - 1 - c, so that under causal
attention all have the same work. It is the split that Megatron's rotary embedding and Transformer Engine's attention
assume. Attention joins keys and values; the objective joins log-probabilities, because the ratio of a sequence needs
all of its tokens.

Shape suffixes: N positions of all rows laid end to end, L = N / C positions of this process.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from ablate.trainer import cpu

cpu.import_megatron()

from megatron.core.tensor_parallel import gather_from_sequence_parallel_region  # noqa: E402


def positions_held(lengths: Sequence[int], rank: int, size: int) -> Tensor:
    """Where in N the positions that context rank ``rank`` holds stand, row after row, int64 [L].

    Args:
        lengths: of the rows; each divides by 2 x ``size``.
    """
    held, start = [], 0
    for length in lengths:
        part = length // (2 * size)
        for index in (rank, 2 * size - 1 - rank):
            held.append(torch.arange(start + index * part, start + (index + 1) * part))
        start += length
    return torch.cat(held)


def joined(held: Tensor, lengths: Sequence[int], group: ProcessGroup, *, sum_gradients: bool) -> Tensor:
    """Put the positions that the group's ranks hold, [L, ...], together into rows end to end, [N, ...].

    Args:
        sum_gradients: the ranks go on to compute different things from the whole (attention: each its own queries), so
            its gradient is the sum of theirs. False: they compute the same thing (the loss), and each has all of it.
    """
    by_rank = gather_from_sequence_parallel_region(held, tensor_parallel_output_grad=sum_gradients, group=group)
    order = torch.cat([positions_held(lengths, rank, group.size()) for rank in range(group.size())])
    return by_rank.index_select(0, order.argsort().to(held.device))
