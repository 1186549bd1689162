"""The slot select: which tokens of an update stay in the loss. It runs on the whole update, before the weights.

``mask_BT`` holds the tokens that ``keep`` and ``overlong`` left, and the other tensors are 0 outside of it. Nothing
here depends on the policy that is trained, so no split of the update changes what stays.

Shape suffixes: B rows, T predictions, P prompts; ``_B1`` broadcasts over T.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ablate.objectives.parts.declare import waives

WITHIN_A_ROW = "weights differ within a sequence; a sequence ratio averages them"


def all_tokens(mask_BT: Tensor) -> Tensor:
    """Every token stays."""
    return mask_BT


def mixed_groups(mask_BT: Tensor, advantage_B1: Tensor, group_B: Tensor) -> Tensor:
    """Out are the groups in which no row has an advantage (ScaleRL, arXiv 2510.13786); none is drawn in their place."""
    _, group_B = group_B.unique(return_inverse=True)
    has_advantage_B = (advantage_B1[:, 0] != 0) & mask_BT.any(dim=1)
    num_P = group_B.new_zeros(int(group_B.max()) + 1).index_add(0, group_B, has_advantage_B.to(group_B.dtype))
    return mask_BT & (num_P > 0)[group_B][:, None]


def off_policy_rows(mask_BT: Tensor, advantage_B1: Tensor, gap_BT: Tensor, *, max_divergence: float) -> Tensor:
    """Out are rows with A < 0 and mean_t log(pi_engine / pi_old) > max_divergence (DeepSeek-V3.2, arXiv 2512.02556)."""
    num_tokens_B1 = mask_BT.sum(dim=1, keepdim=True).clamp(min=1)
    divergence_B1 = -gap_BT.double().sum(dim=1, keepdim=True) / num_tokens_B1
    return mask_BT & ~((advantage_B1 < 0) & (divergence_B1 > max_divergence))


@waives(on_policy_token_and_sequence_ratio_agree=WITHIN_A_ROW)
def top_entropy_tokens(mask_BT: Tensor, entropy_BT: Tensor, *, entropy_share: float) -> Tensor:
    """The share of the update's tokens with the largest entropy of the old policy (arXiv 2506.01939).

    The threshold is the (1 - share) quantile with linear interpolation. torch.quantile ends at 2^24 values.
    """
    sorted_N = entropy_BT[mask_BT].double().sort().values
    position = (1.0 - entropy_share) * (len(sorted_N) - 1)
    if abs(position - round(position)) < 1e-9:  # 0.7 * 10 is 7.000000000000001
        position = round(position)
    below, above = sorted_N[math.floor(position)], sorted_N[math.ceil(position)]
    return mask_BT & (entropy_BT.double() >= torch.lerp(below, above, position - math.floor(position)))


@waives(on_policy_token_and_sequence_ratio_agree=WITHIN_A_ROW)
def second_moment_tokens(mask_BT: Tensor, gap_BT: Tensor, *, max_second_moment: float) -> Tensor:
    """The largest gap^2 leave one by one until the mean of the rest is below the limit (M2PO, arXiv 2510.01161).

    The last token stays. Of equal gaps the later token in draw order leaves first.
    """
    index_N2 = mask_BT.nonzero()
    sorted_N, order_N = gap_BT[mask_BT].double().square().sort(stable=True)
    mean_N = sorted_N.cumsum(dim=0) / torch.arange(1, len(sorted_N) + 1, device=sorted_N.device)
    num_left = max(int((mean_N < max_second_moment).sum()), 1)  # the means of a sorted sequence do not fall
    left_BT = torch.zeros_like(mask_BT)
    left_BT[tuple(index_N2[order_N[:num_left]].T)] = True
    return left_BT


@waives(
    on_policy_token_and_sequence_ratio_agree=WITHIN_A_ROW,
    group_order_changes_nothing="the random draw follows the draw order",
)
def covariance_tokens(
    mask_BT: Tensor,
    advantage_B1: Tensor,
    old_logp_BT: Tensor,
    seed: int,
    *,
    cov_share: float,
    cov_low: float,
    cov_high: float,
) -> Tensor:
    """A random few of the tokens whose covariance of log pi_old and A is large leave (Clip-Cov, arXiv 2505.22617).

    cov = (A - mean A)(log pi_old - mean log pi_old), means over the update's tokens. max(floor(share T), 1) of the
    tokens with cov_low < cov < cov_high leave, or all of these if they are fewer.
    """
    index_N2 = mask_BT.nonzero()
    advantage_N = advantage_B1.expand_as(mask_BT)[mask_BT].double()
    logp_N = old_logp_BT[mask_BT].double()
    cov_N = (advantage_N - advantage_N.mean()) * (logp_N - logp_N.mean())
    candidates = ((cov_N > cov_low) & (cov_N < cov_high)).nonzero()[:, 0]
    count = max(math.floor(cov_share * len(cov_N)), 1)
    if len(candidates) > count:
        drawn = np.random.default_rng(seed).permutation(len(candidates))[:count]
        candidates = candidates[torch.from_numpy(drawn)]
    left_BT = mask_BT.clone()
    left_BT[tuple(index_N2[candidates].T)] = False
    return left_BT
