"""d loss / d logp written down by hand, part by part, with nothing differentiated: what autograd must agree with.

With S the surrogate, x the ratio, c the correction and k the KL penalty,

    d L / d logp_it = - sum_u w_iu c_iu (dS/dlog x)_iu (dlog x_iu / dlogp_it) - w_it c_it (dS/dlogp)_it + w_it k'_it
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.objectives.base import Objective, bounded_exp
from ablate.types import TrainBatch

SURROGATES = ("clipped", "clipped_weight", "log_likelihood")
RATIOS = ("token", "sequence", "sequence_value_token_gradient", "unit")
PENALTIES = (None, "kl_k1", "kl_k2", "kl_k3")


def is_known(objective: Objective) -> bool:
    """Whether every part that shapes the gradient has its derivative here; a user's own part has none."""
    names = objective.part_names
    return names["surrogate"] in SURROGATES and names["ratio"] in RATIOS and names.get("kl") in PENALTIES


def closed_form_gradient(objective: Objective, logp_BT: Tensor, batch: TrainBatch) -> Tensor:
    """The gradient of the batch's loss with respect to logp_BT."""
    names, advantage_B1 = objective.part_names, batch.advantage_B[:, None]
    weight_BT = batch.weight_BT
    if objective.correction is not None:
        weight_BT = weight_BT * objective.correction(batch.old_logp_BT - batch.rollout_logp_BT, batch.mask_BT)
    ratio_BT = bounded_exp(objective.log_ratio(logp_BT, batch))
    gradient_BT = -weight_BT * direct_slope(objective, ratio_BT, advantage_B1)
    through_ratio_BT = -weight_BT * ratio_slope(objective, ratio_BT, advantage_B1)
    if names["ratio"] == "sequence":
        num_tokens_B1 = batch.mask_BT.sum(dim=1, keepdim=True).clamp(min=1)
        through_ratio_BT = (through_ratio_BT.sum(dim=1, keepdim=True) / num_tokens_B1) * batch.mask_BT
    if names["ratio"] != "unit":
        gradient_BT = gradient_BT + through_ratio_BT
    if objective.kl is not None:
        gradient_BT = gradient_BT + batch.weight_BT * penalty_slope(objective, logp_BT - batch.ref_logp_BT)
    return gradient_BT.masked_fill(~batch.mask_BT, 0.0)


def ratio_slope(objective: Objective, ratio_BT: Tensor, advantage_B1: Tensor) -> Tensor:
    """dS / dlog x: x A where PPO's minimum is not saturated."""
    if objective.part_names["surrogate"] != "clipped":
        return torch.zeros_like(ratio_BT)
    low, high = objective.knobs["clip_low"], objective.knobs["clip_high"]
    saturated_BT = ((advantage_B1 > 0) & (ratio_BT > 1 + high)) | ((advantage_B1 < 0) & (ratio_BT < 1 - low))
    return (ratio_BT * advantage_B1).masked_fill(saturated_BT, 0.0)


def direct_slope(objective: Objective, ratio_BT: Tensor, advantage_B1: Tensor) -> Tensor:
    """dS / dlogp at a fixed ratio."""
    match objective.part_names["surrogate"]:
        case "clipped_weight":
            low, high = objective.knobs["clip_low"], objective.knobs["clip_high"]
            return advantage_B1 * ratio_BT.clamp(1 - low, 1 + high)
        case "log_likelihood":
            return advantage_B1.expand_as(ratio_BT)
        case _:
            return torch.zeros_like(ratio_BT)


def penalty_slope(objective: Objective, log_BT: Tensor) -> Tensor:
    """dk / dlogp with log = log pi - log ref."""
    slopes = {"kl_k1": torch.ones_like(log_BT), "kl_k2": log_BT, "kl_k3": 1.0 - (-log_BT).exp()}
    return objective.knobs["kl_coef"] * slopes[objective.part_names["kl"]]
