"""The slot weight: the only denominators there are.

Shape suffixes: P prompts, G samples of one prompt, B rows, T predictions; ``_B1`` broadcasts over T.
"""

from __future__ import annotations

from torch import Tensor

from ablate.objectives.parts.declare import waives


def sequence_mean(mask_BT: Tensor, in_loss_B: Tensor) -> Tensor:
    """1 / (N |o_i|): every sequence weighs the same. N counts the rows in the loss of the whole update."""
    num_tokens_B1 = mask_BT.sum(dim=1, keepdim=True).clamp(min=1)
    return mask_BT.double() / (num_tokens_B1 * in_loss_B.sum().clamp(min=1))


def token_mean(mask_BT: Tensor, in_loss_B: Tensor) -> Tensor:
    """1 / T: every token weighs the same. T counts the response tokens in the loss of the whole update."""
    return mask_BT.double() / mask_BT.sum().clamp(min=1)


@waives(weights_sum_to_one="its denominator is a constant, not the tokens of the update")
def constant_length(mask_BT: Tensor, in_loss_B: Tensor, *, constant_length: float) -> Tensor:
    """1 / (N L) with a constant L: the sum over tokens of Dr. GRPO (arXiv 2503.20783).

    L only scales the update. With L = 1 it is the sum over tokens and the mean over sequences.
    """
    return mask_BT.double() / (in_loss_B.sum().clamp(min=1) * constant_length)


def prompt_mean(mask_BT: Tensor, group_B: Tensor) -> Tensor:
    """1 / (P sum_j |o_j|) over the rows j of a prompt: every prompt weighs the same, and every token of a prompt.

    P counts the prompts with a token in the loss of the update (DAPO, 2503.14476, equation 8; ScaleRL, 2510.13786).
    """
    _, group_B = group_B.unique(return_inverse=True)
    num_tokens_B = mask_BT.sum(dim=1)
    num_tokens_P = num_tokens_B.new_zeros(int(group_B.max()) + 1).index_add(0, group_B, num_tokens_B)
    of_group_B1 = num_tokens_P[group_B][:, None].clamp(min=1)
    return mask_BT.double() / (of_group_B1 * (num_tokens_P > 0).sum().clamp(min=1))
