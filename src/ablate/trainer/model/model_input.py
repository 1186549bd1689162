"""A micro-batch as the model takes it: rows padded to one length, or packed end to end without padding.

Shape suffixes: B rows, S tokens of a row, T = S - 1 predictions, N packed tokens. Targets and masks have
the layout of the model's output, sequence first: [S, B] or [N, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from ablate.config import ParallelConfig
from ablate.trainer import cpu
from ablate.trainer.batching import row_lengths
from ablate.trainer.parallel.context_parallel import joined, positions_held
from ablate.trainer.parallel.layout import row_multiple, sequence_multiple
from ablate.types import TrainBatch

cpu.import_megatron()

from megatron.core.packed_seq_params import PackedSeqParams  # noqa: E402


@dataclass(frozen=True)
class ModelInput:
    """What goes into the model, and which of its outputs predict response tokens."""

    tokens: Tensor  # [B, S] or [1, N]
    targets: Tensor  # [S, B] or [N, 1]: the token that each output predicts; arbitrary where nothing is predicted
    mask: Tensor  # [S, B] or [N, 1]: does the output predict a response token?
    lengths: tuple[int, ...]  # S, or the length of each packed row; padding included; cut row by row for context ranks
    packed: PackedSeqParams | None
    to_rows: Callable[[Tensor], Tensor]  # values in the layout of ``targets`` -> [B, T], 0 outside the mask


def model_input(batch: TrainBatch, parallel: ParallelConfig) -> ModelInput:
    """Lay the whole micro-batch out for the model; ``share_of`` cuts it for context parallelism."""
    if parallel.packing:
        # Transformer Engine's kernels read the lengths on the device. Megatron's own layers, and ours, read them as
        # numbers in every layer, and each time wait for the device if they are there.
        lengths_on = batch.tokens_BS.device if parallel.transformer_engine else torch.device("cpu")
        return packed_input(batch, row_multiple(parallel), sequence_multiple(parallel), lengths_on)
    return padded_input(batch)


def padded_input(batch: TrainBatch) -> ModelInput:
    """Keep the rows as they are: padding is on the right, where causal attention hides it from every real position."""
    return ModelInput(
        tokens=batch.tokens_BS,
        targets=batch.tokens_BS.roll(-1, dims=1).t(),
        mask=torch.nn.functional.pad(batch.mask_BT, (0, 1)).t(),  # a row's last token predicts nothing
        lengths=(batch.tokens_BS.shape[1],),
        packed=None,
        to_rows=lambda values_SB: values_SB[:-1].t(),
    )


def packed_input(
    batch: TrainBatch, row_multiple: int, multiple_of: int, lengths_on: torch.device | None = None
) -> ModelInput:
    """Lay the rows end to end; each row attends to itself only, and its positions start at 0.

    Args:
        row_multiple: every row is padded to a multiple of this.
        multiple_of: N is padded to a multiple of this with a row of padding tokens; a multiple of ``row_multiple``.
        lengths_on: the device of the rows' bounds; None for the device of the tokens.
    """
    lengths = [-(-length // row_multiple) * row_multiple for length in row_lengths(batch)]
    num_missing = -sum(lengths) % multiple_of
    rows = [row[:length] for row, length in zip(batch.tokens_BS, lengths, strict=True)]
    tokens_N = torch.cat([*rows, batch.tokens_BS.new_zeros(num_missing)])
    masks = [row[: length - 1] for row, length in zip(batch.mask_BT, lengths, strict=True)]
    last = batch.mask_BT.new_zeros(1)  # a row's last token predicts nothing
    mask_N = torch.cat([part for mask in masks for part in (mask, last)] + [batch.mask_BT.new_zeros(num_missing)])
    lengths = [*lengths, num_missing] if num_missing else lengths
    ends = torch.tensor([0, *lengths], device=lengths_on or tokens_N.device).cumsum(0).int()

    def to_rows(values_N1: Tensor) -> Tensor:
        # Both masks name the same tokens in the same order: row by row.
        return values_N1.new_zeros(batch.mask_BT.shape).masked_scatter(batch.mask_BT, values_N1[:, 0][mask_N])

    return ModelInput(
        tokens=tokens_N[None],
        targets=tokens_N.roll(-1)[:, None],
        mask=mask_N[:, None],
        lengths=tuple(lengths),
        packed=PackedSeqParams(
            qkv_format="thd",
            cu_seqlens_q=ends,
            cu_seqlens_kv=ends,
            cu_seqlens_q_padded=ends,  # padding is part of its row: nothing before it attends to it
            cu_seqlens_kv_padded=ends,
            max_seqlen_q=max(lengths),
            max_seqlen_kv=max(lengths),
        ),
        to_rows=to_rows,
    )


def share_of(whole: ModelInput, group: ProcessGroup) -> ModelInput:
    """Return the part of a micro-batch that this context rank's model reads; ``to_rows`` joins all ranks' outputs."""
    if group.size() == 1:
        return whole
    held = positions_held(whole.lengths, group.rank(), group.size()).to(whole.tokens.device)
    return replace(
        whole,
        tokens=whole.tokens[:, held],
        targets=whole.targets[held],
        mask=whole.mask[held],
        to_rows=lambda values: whole.to_rows(joined(values, whole.lengths, group, sum_gradients=False)),
    )
