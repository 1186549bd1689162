"""Log-probability and entropy of given tokens, fused with the output projection and split over the vocabulary.

At 8,192 tokens x 151,936 words one fp32 logit matrix is 5 GB and a naive log-softmax holds three of them. This
function projects a chunk of tokens at a time, and again in backward, so that no tensor is tokens x vocabulary.

Shape suffixes: N requested positions, C positions of one chunk, D hidden size, V words of this rank's shard.
Every reduction runs in fp32 (fp64 for fp64 inputs), whatever the dtype of the model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


def response_logp_entropy(
    hidden: Tensor,
    output_weight_VD: Tensor,
    targets: Tensor,
    *,
    mask: Tensor | None,
    vocab_size: int,
    temperature: float,
    chunk_tokens: int,
    tp_group: ProcessGroup | None,
) -> tuple[Tensor, Tensor]:
    """Log-probability of ``targets`` and entropy of the distribution they come from, at ``temperature``.

    Args:
        hidden: last hidden states, [..., D], equal on all ranks of ``tp_group`` (gathered by the caller under sequence
            parallelism, with ``tensor_parallel_output_grad=False``: the gradient returned here is already the sum
            over the group).
        output_weight_VD: this rank's rows of the output projection; all shards have the same number of rows.
        targets: int64 word ids below ``vocab_size``, shape [...].
        mask: bool, shape [...]; positions outside it are not computed and give 0. None: every position.
        vocab_size: words of the vocabulary; rows that pad the projection beyond it have no probability.
        temperature: divides the logits.
        chunk_tokens: positions projected at once; memory is about 2 x ``chunk_tokens`` x V fp32 numbers.
        tp_group: ranks that share the vocabulary; None: this rank holds all of it.

    Returns:
        (logp, entropy), both in nats, fp32, shape [...]. logp is differentiable in ``hidden`` and
        ``output_weight_VD``; entropy is a metric and carries no gradient.
    """
    index_N = torch.arange(targets.numel(), device=targets.device) if mask is None else mask.flatten().nonzero()[:, 0]
    logp_N, entropy_N = _ProjectedLogp.apply(
        hidden.flatten(0, -2).index_select(0, index_N),
        output_weight_VD,
        targets.flatten().index_select(0, index_N),
        vocab_size,
        temperature,
        chunk_tokens,
        tp_group,
    )
    zero = logp_N.new_zeros(targets.numel())
    logp, entropy = (zero.index_copy(0, index_N, value_N).view_as(targets) for value_N in (logp_N, entropy_N))
    return logp, entropy


class _ProjectedLogp(torch.autograd.Function):
    """Saves hidden states, targets and one normaliser per position; backward projects every chunk again."""

    @staticmethod
    def forward(ctx, hidden_ND, weight_VD, target_N, vocab_size, temperature, chunk_tokens, tp_group):
        start, num_words = _shard_words(weight_VD, vocab_size, tp_group)
        column_N, is_here_N = _local_columns(target_N, start, num_words)
        words_VD = weight_VD[:num_words]
        parts = [
            _chunk_statistics(_logits(hidden_CD, words_VD, temperature), column_C, is_here_C)
            for hidden_CD, column_C, is_here_C in zip(
                *(tensor.split(chunk_tokens) for tensor in (hidden_ND, column_N, is_here_N)), strict=True
            )
        ]
        target_logit_N, normaliser_N, mean_logit_N = _combine(torch.cat(parts, dim=1), tp_group)
        ctx.save_for_backward(hidden_ND, weight_VD, column_N, is_here_N, normaliser_N)
        ctx.num_words, ctx.temperature, ctx.chunk_tokens, ctx.tp_group = num_words, temperature, chunk_tokens, tp_group
        entropy_N = normaliser_N - mean_logit_N
        ctx.mark_non_differentiable(entropy_N)
        return target_logit_N - normaliser_N, entropy_N

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_N, _):
        hidden_ND, weight_VD, *per_position = ctx.saved_tensors
        words_VD = weight_VD[: ctx.num_words]
        needs_hidden, needs_weight = ctx.needs_input_grad[:2]
        grad_hidden_ND = torch.zeros_like(hidden_ND, dtype=_wide(hidden_ND)) if needs_hidden else None
        total_VD = _weight_gradient_total(weight_VD) if needs_weight else None
        for first in range(0, len(hidden_ND), ctx.chunk_tokens):
            chunk = slice(first, first + ctx.chunk_tokens)
            hidden_CD = hidden_ND[chunk]
            column_C, is_here_C, normaliser_C = (tensor[chunk] for tensor in per_position)
            grad_CV = _logit_gradient(
                _logits(hidden_CD, words_VD, ctx.temperature), normaliser_C, column_C, is_here_C, grad_N[chunk]
            ).div_(ctx.temperature)
            if needs_hidden:
                grad_hidden_ND[chunk] = _wide_product(grad_CV, words_VD)
            if needs_weight:
                total_VD[: ctx.num_words] += _wide_product(grad_CV.t(), hidden_CD)
        if needs_hidden:
            _all_reduce(grad_hidden_ND, "sum", ctx.tp_group)
            grad_hidden_ND = grad_hidden_ND.to(hidden_ND.dtype)
        grad_weight_VD = _handed_to_autograd(weight_VD, total_VD) if needs_weight else None
        return grad_hidden_ND, grad_weight_VD, None, None, None, None, None


def _shard_words(weight_VD: Tensor, vocab_size: int, tp_group: ProcessGroup | None) -> tuple[int, int]:
    """First word of this rank's shard, and how many of its rows are words (the others pad)."""
    rank = 0 if tp_group is None else tp_group.rank()
    start = rank * len(weight_VD)
    return start, min(max(vocab_size - start, 0), len(weight_VD))


def _local_columns(target_N: Tensor, start: int, num_words: int) -> tuple[Tensor, Tensor]:
    """Column of each target in this shard (0 if another shard holds it) and whether this shard holds it."""
    column_N = target_N - start
    is_here_N = (column_N >= 0) & (column_N < num_words)
    return column_N.where(is_here_N, 0), is_here_N


def _logits(hidden_CD: Tensor, words_VD: Tensor, temperature: float) -> Tensor:
    logit_CV = _wide_product(hidden_CD, words_VD.t())
    return logit_CV if temperature == 1 else logit_CV.div_(temperature)


def _chunk_statistics(logit_CV: Tensor, column_C: Tensor, is_here_C: Tensor) -> Tensor:
    """Return what this shard contributes to the softmax of a chunk, [4, C]; overwrites ``logit_CV``.

    Rows: target logit (0 elsewhere), maximum m, sum of exp(z - m), sum of exp(z - m) * (z - m).
    """
    if not logit_CV.numel():  # a shard that holds only padding contributes nothing to any sum
        empty = logit_CV.new_zeros(4, len(logit_CV))
        empty[1] = torch.finfo(logit_CV.dtype).min
        return empty
    target_C = logit_CV.gather(1, column_C[:, None])[:, 0].where(is_here_C, 0)
    maximum_C = logit_CV.amax(dim=1)
    logit_CV -= maximum_C[:, None]
    exp_CV = logit_CV.exp()
    return torch.stack((target_C, maximum_C, exp_CV.sum(dim=1), logit_CV.mul_(exp_CV).sum(dim=1)))


def _combine(statistics_4N: Tensor, tp_group: ProcessGroup | None) -> tuple[Tensor, Tensor, Tensor]:
    """Join the shards' statistics: target logit, log of the partition sum, mean logit; two collectives in all."""
    target_N, shard_maximum_N, exp_sum_N, exp_logit_sum_N = statistics_4N
    maximum_N = _all_reduce(shard_maximum_N.clone(), "max", tp_group)
    shift_N = shard_maximum_N - maximum_N
    scale_N = shift_N.exp()
    sums_3N = torch.stack((target_N, scale_N * exp_sum_N, scale_N * (exp_logit_sum_N + exp_sum_N * shift_N)))
    target_N, exp_sum_N, exp_logit_sum_N = _all_reduce(sums_3N, "sum", tp_group)
    return target_N, maximum_N + exp_sum_N.log(), maximum_N + exp_logit_sum_N / exp_sum_N


def _logit_gradient(
    logit_CV: Tensor, normaliser_C: Tensor, column_C: Tensor, is_here_C: Tensor, grad_C: Tensor
) -> Tensor:
    """d logp / d logit = onehot(target) - softmax, times ``grad_C``; overwrites ``logit_CV``."""
    if not logit_CV.numel():
        return logit_CV
    grad_CV = logit_CV.sub_(normaliser_C[:, None]).exp_().mul_(-grad_C[:, None])
    return grad_CV.scatter_add_(1, column_C[:, None], grad_C.where(is_here_C, 0)[:, None])


def _weight_gradient_total(weight_VD: Tensor) -> Tensor:
    """Return the tensor that sums the weight's gradient: Megatron's fp32 buffer if its DDP has given the weight one."""
    main_grad_VD = getattr(weight_VD, "main_grad", None)
    return torch.zeros_like(weight_VD, dtype=_wide(weight_VD)) if main_grad_VD is None else main_grad_VD


def _handed_to_autograd(weight_VD: Tensor, total_VD: Tensor) -> Tensor:
    """Return the weight gradient in the form that autograd and Megatron's DDP hook expect.

    With ``main_grad`` the sum is already in place: DDP's hook must fire but add nothing, which
    ``grad_added_to_main_grad`` tells it. A weight tied to the embedding has ``zero_out_wgrad``: then the hook does add
    what it receives (the share of the embedding), so this gradient must be zeros
    (megatron/core/tensor_parallel/layers.py).
    """
    if getattr(weight_VD, "main_grad", None) is None:
        return total_VD.to(weight_VD.dtype)
    weight_VD.grad_added_to_main_grad = True
    return torch.zeros_like(weight_VD) if getattr(weight_VD, "zero_out_wgrad", False) else torch.empty_like(weight_VD)


def _wide(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)


def _wide_product(left: Tensor, right: Tensor) -> Tensor:
    """left @ right, never rounded below fp32: a bf16 logit of 20 is off by 0.06, GSPO's clip range is 3e-4."""
    wide = _wide(right)
    if right.is_cuda and right.dtype != wide:
        return torch.mm(left.to(right.dtype), right, out_dtype=wide)
    return left.to(wide) @ right.to(wide)


def _all_reduce(tensor: Tensor, operation: str, tp_group: ProcessGroup | None) -> Tensor:
    """Reduce in place over the group; every rank holds the same positions, so all of them skip an empty tensor."""
    if tp_group is not None and tp_group.size() > 1 and tensor.numel():
        op = {"sum": torch.distributed.ReduceOp.SUM, "max": torch.distributed.ReduceOp.MAX}[operation]
        torch.distributed.all_reduce(tensor, op=op, group=tp_group)
    return tensor
