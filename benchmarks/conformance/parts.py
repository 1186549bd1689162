"""Parts that make an objective of ours compute what another trainer computes. They waive the laws that it breaks.

``micro_batch_size`` is how the other trainer splits an update: our weights are computed once over the whole update, so
a part that imitates local denominators must be told.
"""

from __future__ import annotations

from torch import Tensor

from ablate.objectives.parts.declare import waives


@waives(weights_sum_to_one="N counts rows that are out of the loss")
def sequence_mean_of_all_rows(mask_BT: Tensor, in_loss_B: Tensor) -> Tensor:
    """1 / (N |o_i|), where N also counts the rows that ``overlong=mask`` took out of the loss."""
    return mask_BT.double() / (mask_BT.sum(dim=1, keepdim=True).clamp(min=1) * len(in_loss_B))


@waives(weights_sum_to_one="its denominator is a constant times all rows")
def constant_length_of_all_rows(mask_BT: Tensor, in_loss_B: Tensor, *, constant_length: float) -> Tensor:
    """1 / (N L), where N also counts the rows that ``overlong=mask`` took out of the loss."""
    return mask_BT.double() / (len(in_loss_B) * constant_length)


@waives(micro_batch_invariance="its denominators are those of the micro-batches")
def micro_batch_token_mean(mask_BT: Tensor, in_loss_B: Tensor, *, micro_batch_size: int) -> Tensor:
    """1 / (K T_k): the mean over K micro-batches of their token means."""
    parts = mask_BT.double().split(micro_batch_size)
    weights = [part / (part.sum().clamp(min=1) * len(parts)) for part in parts]
    return mask_BT.double().new_tensor([row for part in weights for row in part.tolist()])


@waives(
    weights_sum_to_one="its denominator is a length", micro_batch_invariance="the length is the micro-batch's longest"
)
def micro_batch_longest(mask_BT: Tensor, in_loss_B: Tensor, *, micro_batch_size: int) -> Tensor:
    """1 / (N L_k), where L_k is the longest response of the row's micro-batch."""
    parts = mask_BT.double().split(micro_batch_size)
    weights = [part / (part.sum(dim=1).max().clamp(min=1) * len(in_loss_B)) for part in parts]
    return mask_BT.double().new_tensor([row for part in weights for row in part.tolist()])


def token_cut(log_ratio_BT: Tensor, mask_BT: Tensor, *, cut: float) -> Tensor:
    """x_it = r_it, constant where the log-ratio leaves +-``cut`` nats."""
    return log_ratio_BT.clamp(-cut, cut)
