"""d loss / d logp written down by hand, part by part, without automatic differentiation: autograd must agree with it.

With S the surrogate, x the ratio, c the correction and k the KL penalty,

    d L / d logp_it = - sum_u v_iu (dlog x_iu / dlogp_it) - e_it + w_it k'_it

v_it is d (sum_u w_iu c_iu S_iu) / d log x_it, and e_it the same through logp_it at a fixed x. Most surrogates depend on
their own token only: v_it = w_it c_it (dS / dlog x)_it. Each table is keyed by the part itself. A user's own part is
in none of them; central differences check it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ablate.objectives import parts
from ablate.objectives.base import Objective, bounded_exp
from ablate.types import TrainBatch


@dataclass(frozen=True)
class Point:
    """Where a surrogate is differentiated."""

    knobs: Mapping[str, Any]
    x_BT: Tensor
    log_x_BT: Tensor  # not cut at +-80 nats
    a_BT: Tensor  # the advantage
    logp_BT: Tensor
    mask_BT: Tensor

    @property
    def bounds(self) -> tuple[float, float]:
        return 1.0 - self.knobs["clip_low"], 1.0 + self.knobs["clip_high"]


# One function per surrogate: the slope of S_it through its own x (log x), or through its own logp at a fixed x.


def clipped(at: Point) -> Tensor:
    """x A where PPO's minimum is not saturated."""
    low, high = at.bounds
    return (at.x_BT * at.a_BT).masked_fill(pessimistic(at, low, high), 0.0)


def pessimistic(at: Point, low: float, high: float) -> Tensor:
    return ((at.a_BT > 0) & (at.x_BT > high)) | ((at.a_BT < 0) & (at.x_BT < low))


def dual_clipped(at: Point) -> Tensor:
    return clipped(at).masked_fill((at.a_BT < 0) & (at.x_BT > at.knobs["dual_clip"]), 0.0)


def total_variation_masked(at: Point) -> Tensor:
    moved_BT = at.logp_BT.exp() - (at.logp_BT - at.log_x_BT).exp()
    return masked(at, moved_BT, moved_BT.abs())


def binary_kl_masked(at: Point) -> Tensor:
    p_BT, q_BT = at.logp_BT.exp().clamp(max=1.0), (at.logp_BT - at.log_x_BT).exp().clamp(max=1.0)
    other_BT = (1 - q_BT) * ((1 - q_BT + 1e-8) / (1 - p_BT + 1e-8)).log()
    return masked(at, p_BT - q_BT, q_BT * (q_BT / p_BT).log() + other_BT)


def masked(at: Point, moved_BT: Tensor, distance_BT: Tensor) -> Tensor:
    """x A but for tokens that moved with the sign of A by more than the delta of that side."""
    delta_BT = torch.where(at.a_BT > 0, at.x_BT.new_tensor(at.knobs["delta_high"]), at.knobs["delta_low"])
    return (at.x_BT * at.a_BT).masked_fill((moved_BT * at.a_BT > 0) & (distance_BT > delta_BT), 0.0)


def soft_gate(at: Point) -> Tensor:
    tau_BT = torch.where(at.a_BT > 0, at.x_BT.new_tensor(at.knobs["tau_positive"]), at.knobs["tau_negative"])
    gate_BT = 1 / (1 + (-tau_BT * (at.x_BT - 1)).exp())
    return 4 * gate_BT * (1 - gate_BT) * at.x_BT * at.a_BT


def gamma_weight(at: Point) -> Tensor:
    phi = {}
    for side in ("positive", "negative"):
        power, rate = at.knobs[f"k_{side}"], at.knobs[f"lambda_{side}"]
        phi[side] = (power * at.x_BT.log() + rate * (1 - at.x_BT)).exp()
    return torch.where(at.a_BT >= 0, phi["positive"], phi["negative"]) * at.a_BT


def tapered(at: Point) -> Tensor:
    return torch.where(at.a_BT > 0, at.a_BT, at.x_BT.clamp(max=1) * at.a_BT)


def flipped(at: Point) -> Tensor:
    (low, high), cap = at.bounds, at.knobs["weight_cap"]
    v_BT = torch.where(at.a_BT > 0, 1 / at.x_BT, at.x_BT).clamp(max=cap)
    out_BT = torch.where(at.a_BT > 0, at.x_BT > high, at.x_BT < low)
    return (v_BT * at.a_BT).masked_fill(out_BT, 0.0)


def geometric_mean(at: Point, weight_BT: Tensor) -> Tensor:
    """S has one value per row: token t gets the row's weights, times S / |o| where the clip does not act."""
    log_BT, low, high = at.log_x_BT, -at.knobs["log_clip_low"], at.knobs["log_clip_high"]
    acts_BT = torch.where(at.a_BT > 0, log_BT > high, log_BT < low)
    bounded_BT = torch.where(at.a_BT > 0, log_BT.clamp(max=high), log_BT.clamp(min=low)) * at.mask_BT
    value_B1 = mean_of_row(bounded_BT, at.mask_BT).exp() * at.a_BT[:, :1]
    return (mean_of_row(weight_BT, at.mask_BT) * value_B1).masked_fill(acts_BT, 0.0)


def sequence_quadratic(at: Point, weight_BT: Tensor) -> Tensor:
    total_B1 = (at.log_x_BT * at.mask_BT).sum(dim=1, keepdim=True)
    return (-at.knobs["log_ratio_penalty"] * total_B1 * mean_of_row(weight_BT, at.mask_BT)).expand_as(weight_BT)


def mean_of_row(value_BT: Tensor, mask_BT: Tensor) -> Tensor:
    return value_BT.sum(dim=1, keepdim=True) / mask_BT.sum(dim=1, keepdim=True).clamp(min=1)


def advantage(at: Point) -> Tensor:
    return at.a_BT


Slopes = Callable[[Point, Tensor], tuple[Tensor, Tensor]]  # at a point, with weights w c: (v_BT, e_BT)


def through_x(slope: Callable[[Point], Tensor]) -> Slopes:
    return lambda at, weight_BT: (weight_BT * slope(at), torch.zeros_like(weight_BT))


def through_logp(slope: Callable[[Point], Tensor]) -> Slopes:
    return lambda at, weight_BT: (torch.zeros_like(weight_BT), weight_BT * slope(at))


def to_each_token(slope_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """log x_it depends on logp_it alone, with slope 1."""
    return slope_BT


def to_the_whole_sequence(slope_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """log s_i is a mean: every token of the sequence receives an equal share of the sequence's slopes."""
    num_tokens_B1 = mask_BT.sum(dim=1, keepdim=True).clamp(min=1)
    return (slope_BT.sum(dim=1, keepdim=True) / num_tokens_B1) * mask_BT


def to_the_sum(slope_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """log x is a sum over the row: every token receives all of the row's slopes."""
    return slope_BT.sum(dim=1, keepdim=True) * mask_BT


def to_nothing(slope_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """x is constant."""
    return torch.zeros_like(slope_BT)


SURROGATE_SLOPES: dict[Callable, Slopes] = {
    parts.surrogate.clipped: through_x(clipped),
    parts.surrogate.clipped_weight: through_logp(lambda at: at.a_BT * at.x_BT.clamp(*at.bounds)),
    parts.surrogate.log_likelihood: through_logp(advantage),
    parts.surrogate.unclipped: through_x(lambda at: at.x_BT * at.a_BT),
    parts.surrogate.dual_clipped: through_x(dual_clipped),
    parts.surrogate.total_variation_masked: through_x(total_variation_masked),
    parts.surrogate.binary_kl_masked: through_x(binary_kl_masked),
    parts.surrogate.soft_gate: through_x(soft_gate),
    parts.surrogate.gamma_weight: through_logp(gamma_weight),
    parts.surrogate.tapered: through_logp(tapered),
    parts.surrogate.flipped: through_logp(flipped),
    parts.surrogate.geometric_mean: lambda at, weight_BT: (geometric_mean(at, weight_BT), torch.zeros_like(weight_BT)),
    parts.surrogate.quadratic: lambda at, weight_BT: (
        -weight_BT * at.knobs["log_ratio_penalty"] * at.log_x_BT,
        weight_BT * at.a_BT,
    ),
    parts.surrogate.sequence_quadratic: lambda at, weight_BT: (sequence_quadratic(at, weight_BT), weight_BT * at.a_BT),
}
# ratio -> from slopes with respect to log x to slopes with respect to logp
RATIO_SLOPES: dict[Callable, Callable[[Tensor, Tensor], Tensor]] = {
    parts.ratio.token: to_each_token,
    parts.ratio.sequence: to_the_whole_sequence,
    parts.ratio.sequence_value_token_gradient: to_each_token,
    parts.ratio.product: to_the_sum,
    parts.ratio.unit: to_nothing,
}
# kl -> dk / dlogp without its coefficient, of log pi - log ref
PENALTY_SLOPES: dict[Callable, Callable[[Tensor], Tensor]] = {
    parts.terms.kl_k1: torch.ones_like,
    parts.terms.kl_k2: lambda log_BT: log_BT,
    parts.terms.kl_k3: lambda log_BT: 1.0 - (-log_BT).exp(),
}


def why_unknown(objective: Objective) -> str | None:
    """The reason why there is no closed form, if there is none."""
    tables = {"surrogate": SURROGATE_SLOPES, "ratio": RATIO_SLOPES, "kl": PENALTY_SLOPES}
    filled = {"surrogate": objective.slots.surrogate, "ratio": objective.slots.ratio, "kl": objective.kl}
    unknown = [slot for slot, part in filled.items() if part is not None and part.func not in tables[slot]]
    if not unknown:
        return None
    names = ", ".join(f"{slot}={objective.part_names.get(slot)}" for slot in unknown)
    return f"{names} has no closed form in objectives/laws/closed_form.py; only central differences check the gradient"


def closed_form_gradient(objective: Objective, logp_BT: Tensor, batch: TrainBatch) -> Tensor:
    """The gradient of the batch's loss with respect to logp_BT."""
    slots, weight_BT = objective.slots, batch.weight_BT
    if objective.correction is not None:
        weight_BT = weight_BT * objective.correction_factor(batch)
    log_x_BT = objective.log_ratio(logp_BT, batch)
    advantage_BT = batch.advantage_B[:, None].expand_as(log_x_BT)
    at = Point(objective.knobs, bounded_exp(log_x_BT), log_x_BT, advantage_BT, logp_BT, batch.mask_BT)
    through_ratio_BT, direct_BT = SURROGATE_SLOPES[slots.surrogate.func](at, weight_BT)
    gradient_BT = -direct_BT - RATIO_SLOPES[slots.ratio.func](through_ratio_BT, batch.mask_BT)
    if objective.kl is not None:
        slope_BT = PENALTY_SLOPES[objective.kl.func](logp_BT - batch.ref_logp_BT)
        gradient_BT = gradient_BT + batch.weight_BT * objective.knobs["kl_coef"] * slope_BT
    return gradient_BT.masked_fill(~batch.mask_BT, 0.0)
