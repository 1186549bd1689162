"""d loss / d logp written down by hand, part by part, without automatic differentiation: autograd must agree with it.

With S the surrogate, x the ratio, c the correction and k the KL penalty,

    d L / d logp_it = - sum_u w_iu c_iu (dS/dlog x)_iu (dlog x_iu / dlogp_it) - w_it c_it (dS/dlogp)_it + w_it k'_it

Each table is keyed by the part itself. A user's own part is in none of them; central differences check it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ablate.objectives import parts
from ablate.objectives.base import Objective, bounded_exp
from ablate.types import TrainBatch


def clipped_slopes(objective: Objective, ratio_BT: Tensor, advantage_B1: Tensor) -> tuple[Tensor, Tensor]:
    """dS / dlog x is x A where PPO's minimum is not saturated; logp does not appear in S."""
    low, high = objective.clip_bounds
    saturated_BT = ((advantage_B1 > 0) & (ratio_BT > high)) | ((advantage_B1 < 0) & (ratio_BT < low))
    return (ratio_BT * advantage_B1).masked_fill(saturated_BT, 0.0), torch.zeros_like(ratio_BT)


def clipped_weight_slopes(objective: Objective, ratio_BT: Tensor, advantage_B1: Tensor) -> tuple[Tensor, Tensor]:
    return torch.zeros_like(ratio_BT), advantage_B1 * ratio_BT.clamp(*objective.clip_bounds)


def log_likelihood_slopes(objective: Objective, ratio_BT: Tensor, advantage_B1: Tensor) -> tuple[Tensor, Tensor]:
    return torch.zeros_like(ratio_BT), advantage_B1.expand_as(ratio_BT)


def to_each_token(slope_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """log x_it depends on logp_it alone, with slope 1."""
    return slope_BT


def to_the_whole_sequence(slope_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """log s_i is a mean: every token of the sequence receives an equal share of the sequence's slopes."""
    num_tokens_B1 = mask_BT.sum(dim=1, keepdim=True).clamp(min=1)
    return (slope_BT.sum(dim=1, keepdim=True) / num_tokens_B1) * mask_BT


def to_nothing(slope_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """x is constant."""
    return torch.zeros_like(slope_BT)


# surrogate -> (objective, ratio_BT, advantage_B1) -> (dS / dlog x, dS / dlogp at a fixed ratio)
SURROGATE_SLOPES: dict[Callable, Callable[..., tuple[Tensor, Tensor]]] = {
    parts.clipped: clipped_slopes,
    parts.clipped_weight: clipped_weight_slopes,
    parts.log_likelihood: log_likelihood_slopes,
}
# ratio -> from slopes with respect to log x to slopes with respect to logp
RATIO_SLOPES: dict[Callable, Callable[[Tensor, Tensor], Tensor]] = {
    parts.token: to_each_token,
    parts.sequence: to_the_whole_sequence,
    parts.sequence_value_token_gradient: to_each_token,
    parts.unit: to_nothing,
}
# kl -> dk / dlogp without its coefficient, of log pi - log ref
PENALTY_SLOPES: dict[Callable, Callable[[Tensor], Tensor]] = {
    parts.kl_k1: torch.ones_like,
    parts.kl_k2: lambda log_BT: log_BT,
    parts.kl_k3: lambda log_BT: 1.0 - (-log_BT).exp(),
}


def why_unknown(objective: Objective) -> str | None:
    """The reason why there is no closed form, if there is none."""
    slots, kl = objective.slots, objective.kl
    is_known = slots.surrogate.func in SURROGATE_SLOPES and slots.ratio.func in RATIO_SLOPES
    if is_known and (kl is None or kl.func in PENALTY_SLOPES):
        return None
    return "a part has no closed form in objectives/laws/closed_form.py; central differences check it"


def closed_form_gradient(objective: Objective, logp_BT: Tensor, batch: TrainBatch) -> Tensor:
    """The gradient of the batch's loss with respect to logp_BT."""
    slots, weight_BT = objective.slots, batch.weight_BT
    if objective.correction is not None:
        weight_BT = weight_BT * objective.correction(batch.old_logp_BT - batch.rollout_logp_BT, batch.mask_BT)
    ratio_BT = bounded_exp(objective.log_ratio(logp_BT, batch))
    slopes = SURROGATE_SLOPES[slots.surrogate.func](objective, ratio_BT, batch.advantage_B[:, None])
    through_ratio_BT, direct_BT = (-weight_BT * slope_BT for slope_BT in slopes)
    gradient_BT = direct_BT + RATIO_SLOPES[slots.ratio.func](through_ratio_BT, batch.mask_BT)
    if objective.kl is not None:
        slope_BT = PENALTY_SLOPES[objective.kl.func](logp_BT - batch.ref_logp_BT)
        gradient_BT = gradient_BT + batch.weight_BT * objective.knobs["kl_coef"] * slope_BT
    return gradient_BT.masked_fill(~batch.mask_BT, 0.0)
