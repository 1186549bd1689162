"""The slot surrogate: the function of ratio and advantage that an update maximises.

Shape suffixes: P prompts, G samples of one prompt, B rows, T predictions; ``_B1`` broadcasts over T.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.objectives.parts.declare import LOG_RATIO_LIMIT, declares, waives


def clipped(ratio_BT: Tensor, advantage_B1: Tensor, logp_BT: Tensor, *, clip_low: float, clip_high: float) -> Tensor:
    """PPO's pessimistic clip, min(x A, clip(x, 1 - low, 1 + high) A), for both signs of A (arXiv 1707.06347)."""
    bounded_BT = ratio_BT.clamp(1.0 - clip_low, 1.0 + clip_high)
    return torch.minimum(ratio_BT * advantage_B1, bounded_BT * advantage_B1)


@waives(
    saturation="the clip bounds the weight of a token's gradient and never removes the token",
    central_differences="its definition has a stop-gradient",
)
def clipped_weight(
    ratio_BT: Tensor, advantage_B1: Tensor, logp_BT: Tensor, *, clip_low: float, clip_high: float
) -> Tensor:
    """CISPO: sg[clip(x, 1 - low, 1 + high)] A log pi (MiniMax-M1, arXiv 2506.13585, equations 4 and 5).

    The bounds are 1 - low and 1 + high, as in verl; TRL's ``epsilon_high`` for CISPO is the upper bound itself.
    """
    return ratio_BT.clamp(1.0 - clip_low, 1.0 + clip_high).detach() * advantage_B1 * logp_BT


@waives(saturation="there is no clip")
def log_likelihood(ratio_BT: Tensor, advantage_B1: Tensor, logp_BT: Tensor) -> Tensor:
    """A log pi: REINFORCE with the given advantage, maximum likelihood when it is 1."""
    return logp_BT * advantage_B1


@waives(saturation="there is no clip")
def unclipped(ratio_BT: Tensor, advantage_B1: Tensor, logp_BT: Tensor) -> Tensor:
    """x A: the importance-sampled policy gradient (M2PO, arXiv 2510.01161, which selects tokens instead)."""
    return ratio_BT * advantage_B1


def dual_clipped(
    ratio_BT: Tensor, advantage_B1: Tensor, logp_BT: Tensor, *, clip_low: float, clip_high: float, dual_clip: float
) -> Tensor:
    """PPO's clip, and for A < 0 never below dual_clip A (arXiv 1912.09729, equation 5)."""
    clipped_BT = clipped(ratio_BT, advantage_B1, logp_BT, clip_low=clip_low, clip_high=clip_high)
    return torch.where(advantage_B1 < 0, torch.maximum(clipped_BT, dual_clip * advantage_B1), clipped_BT)


@declares(needs_ratio="token", can_vanish=True)
@waives(saturation="a token leaves by its probability, not by its ratio")
def total_variation_masked(
    ratio_BT: Tensor,
    advantage_B1: Tensor,
    logp_BT: Tensor,
    log_ratio_BT: Tensor,
    *,
    delta_low: float,
    delta_high: float,
) -> Tensor:
    """x A, without the tokens whose probability moved too far in the direction of A (DPPO-TV, arXiv 2602.04879).

    Out is a token with A > 0 and p - q > delta_high, or A < 0 and q - p > delta_low; p = pi(o), q = pi_old(o).
    """
    moved_BT = (probability(logp_BT) - probability(logp_BT - log_ratio_BT)).detach()
    out_BT = ((advantage_B1 > 0) & (moved_BT > delta_high)) | ((advantage_B1 < 0) & (-moved_BT > delta_low))
    return (ratio_BT * advantage_B1).masked_fill(out_BT, 0.0)


@declares(needs_ratio="token", can_vanish=True)
@waives(saturation="a token leaves by its probability, not by its ratio")
def binary_kl_masked(
    ratio_BT: Tensor,
    advantage_B1: Tensor,
    logp_BT: Tensor,
    log_ratio_BT: Tensor,
    *,
    delta_low: float,
    delta_high: float,
) -> Tensor:
    """As ``total_variation_masked``, by the KL divergence of "this token or another" (DPPO-KL, arXiv 2602.04879).

    Out is a token with A > 0, p > q and KL > delta_high, or A < 0, p < q and KL > delta_low, with
    KL = q (log q - log p) + (1 - q) log((1 - q) / (1 - p)).
    """
    log_p_BT, log_q_BT = (log_BT.detach().clamp(max=0.0) for log_BT in (logp_BT, logp_BT - log_ratio_BT))
    p_BT, q_BT = log_p_BT.exp(), log_q_BT.exp()
    other_BT = ((1 - q_BT + 1e-8) / (1 - p_BT + 1e-8)).log()
    kl_BT = q_BT * (log_q_BT - log_p_BT) + (1 - q_BT) * other_BT
    up_BT = (advantage_B1 > 0) & (p_BT > q_BT) & (kl_BT > delta_high)
    down_BT = (advantage_B1 < 0) & (p_BT < q_BT) & (kl_BT > delta_low)
    return (ratio_BT * advantage_B1).masked_fill(up_BT | down_BT, 0.0)


@waives(saturation="the gate closes gradually, and there is no clip")
def soft_gate(
    ratio_BT: Tensor, advantage_B1: Tensor, logp_BT: Tensor, *, tau_positive: float, tau_negative: float
) -> Tensor:
    """4 / tau sigmoid(tau (x - 1)) A, tau by the sign of A (SAPO, arXiv 2511.20347). On policy the gradient is A."""
    tau_B1 = by_sign(advantage_B1 > 0, tau_positive, tau_negative, advantage_B1)
    return 4.0 / tau_B1 * (tau_B1 * (ratio_BT - 1.0)).sigmoid() * advantage_B1


@declares(can_vanish=True)
@waives(saturation="there is no clip", central_differences="its definition has a stop-gradient")
def gamma_weight(
    ratio_BT: Tensor,
    advantage_B1: Tensor,
    logp_BT: Tensor,
    *,
    k_positive: float,
    lambda_positive: float,
    k_negative: float,
    lambda_negative: float,
) -> Tensor:
    """sg[phi] A log pi, phi = exp(lambda + k log x - lambda x), a pair for each sign of A (VESPO, arXiv 2602.10693)."""
    k_B1 = by_sign(advantage_B1 >= 0, k_positive, k_negative, advantage_B1)
    lambda_B1 = by_sign(advantage_B1 >= 0, lambda_positive, lambda_negative, advantage_B1)
    ratio_BT = ratio_BT.detach()
    log_phi_BT = lambda_B1 + k_B1 * ratio_BT.log() - lambda_B1 * ratio_BT
    return log_phi_BT.clamp(max=LOG_RATIO_LIMIT).exp() * advantage_B1 * logp_BT


@waives(saturation="there is no clip", central_differences="its definition has a stop-gradient")
def tapered(ratio_BT: Tensor, advantage_B1: Tensor, logp_BT: Tensor) -> Tensor:
    """sg[v] A log pi, v = 1 for A > 0 and min(x, 1) for A <= 0 (TOPR, arXiv 2503.14286, equation 8)."""
    taper_BT = ratio_BT.detach().clamp(max=1.0)
    return torch.where(advantage_B1 > 0, torch.ones_like(taper_BT), taper_BT) * advantage_B1 * logp_BT


@waives(central_differences="its definition has a stop-gradient")
def flipped(
    ratio_BT: Tensor, advantage_B1: Tensor, logp_BT: Tensor, *, clip_low: float, clip_high: float, weight_cap: float
) -> Tensor:
    """sg[v] A log pi with the ratio of A > 0 turned over: v = min(1 / x, cap), else min(x, cap); 0 where PPO clips.

    ASPO, arXiv 2510.06062, equation 3.
    """
    ratio_BT = ratio_BT.detach()
    up_BT = (1.0 / ratio_BT).clamp(max=weight_cap).masked_fill(ratio_BT > 1.0 + clip_high, 0.0)
    down_BT = ratio_BT.clamp(max=weight_cap).masked_fill(ratio_BT < 1.0 - clip_low, 0.0)
    return torch.where(advantage_B1 > 0, up_BT, down_BT) * advantage_B1 * logp_BT


@declares(needs_ratio="token", can_vanish=True)
@waives(saturation="the clip bounds a token's share of the mean, not the ratio")
def geometric_mean(
    ratio_BT: Tensor,
    advantage_B1: Tensor,
    logp_BT: Tensor,
    mask_BT: Tensor,
    log_ratio_BT: Tensor,
    *,
    log_clip_low: float,
    log_clip_high: float,
) -> Tensor:
    """A exp(mean_t h_t) for every token, h = min(log r, high) for A > 0, max(log r, -low) for A < 0 (GMPO, 2507.20673).

    The clip acts per token before the mean; GSPO's acts after it. The bounds are logs.
    """
    up_BT, down_BT = log_ratio_BT.clamp(max=log_clip_high), log_ratio_BT.clamp(min=-log_clip_low)
    bounded_BT = torch.where(advantage_B1 > 0, up_BT, down_BT)
    num_tokens_B1 = mask_BT.sum(dim=1, keepdim=True).clamp(min=1)
    mean_B1 = torch.where(mask_BT, bounded_BT, 0.0).sum(dim=1, keepdim=True) / num_tokens_B1
    return (mean_B1.clamp(max=LOG_RATIO_LIMIT).exp() * advantage_B1).expand_as(ratio_BT)


@declares(needs_ratio="token")
@waives(
    saturation="there is no clip",
    gradient_vanishes_without_advantage="the penalty pulls on every rollout",
)
def quadratic(advantage_B1: Tensor, logp_BT: Tensor, log_ratio_BT: Tensor, *, log_ratio_penalty: float) -> Tensor:
    """A log pi - b/2 (log r)^2 per token (DRO, verl's form)."""
    return advantage_B1 * logp_BT - 0.5 * log_ratio_penalty * log_ratio_BT.square()


@declares(needs_ratio="token")
@waives(
    saturation="there is no clip",
    gradient_vanishes_without_advantage="the penalty pulls on every rollout",
)
def sequence_quadratic(
    advantage_B1: Tensor, logp_BT: Tensor, mask_BT: Tensor, log_ratio_BT: Tensor, *, log_ratio_penalty: float
) -> Tensor:
    """A log pi - b/2 (sum_u log r_u)^2 / |o|: the penalty is on the response's ratio (Kimi k1.5, arXiv 2501.12599)."""
    total_B1 = torch.where(mask_BT, log_ratio_BT, 0.0).sum(dim=1, keepdim=True)
    num_tokens_B1 = mask_BT.sum(dim=1, keepdim=True).clamp(min=1)
    return advantage_B1 * logp_BT - 0.5 * log_ratio_penalty * total_B1.square() / num_tokens_B1


def probability(log_BT: Tensor) -> Tensor:
    return log_BT.clamp(max=LOG_RATIO_LIMIT).exp()


def by_sign(condition_B1: Tensor, yes: float, no: float, like: Tensor) -> Tensor:
    """``yes`` or ``no`` in the dtype of ``like``: torch.where makes float32 of two Python numbers."""
    return torch.where(condition_B1, like.new_full((), yes), like.new_full((), no))
