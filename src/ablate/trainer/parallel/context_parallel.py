"""Context parallelism: the tokens of every row are split over processes, and joined where a whole row is needed.

A row is cut into 2 x C equal parts for C processes; process c holds parts c and 2C - 1 - c, so that under causal
attention every process has the same work. Megatron's rotary embedding and Transformer Engine's attention assume this
split. Attention joins keys and values; the objective joins log-probabilities, because the ratio of a sequence needs
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
    """Return the indices into N of the positions that context rank ``rank`` holds, row after row, int64 [L].

    Args:
        lengths: of the rows; each is a multiple of 2 x ``size``.
    """
    held, start = [], 0
    for length in lengths:
        part = length // (2 * size)
        for index in (rank, 2 * size - 1 - rank):
            held.append(torch.arange(start + index * part, start + (index + 1) * part))
        start += length
    return torch.cat(held)


def joined(held: Tensor, lengths: Sequence[int], group: ProcessGroup, *, sum_gradients: bool) -> Tensor:
    """Join the positions that all ranks of the group hold, [L, ...] each, into rows end to end, [N, ...].

    Args:
        sum_gradients: True if each rank computes something different from the whole (attention: its own queries), so
            that the gradients have to be summed. False if all ranks compute the same thing (the loss).
    """
    by_rank = gather_from_sequence_parallel_region(held, tensor_parallel_output_grad=sum_gradients, group=group)
    order = torch.cat([positions_held(lengths, rank, group.size()) for rank in range(group.size())])
    return by_rank.index_select(0, order.argsort().to(held.device))
