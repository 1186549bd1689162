"""The two terms that an objective may have or not: kl and correction.

Shape suffixes: P prompts, G samples of one prompt, B rows, T predictions; ``_B1`` broadcasts over T.
"""

from __future__ import annotations

from torch import Tensor

from ablate.objectives.parts.declare import LOG_RATIO_LIMIT, waives

# kl: a penalty against a frozen reference, in nats, added to the loss with the objective's own weights


@waives(gradient_vanishes_without_advantage="the KL term pulls on every rollout")
def kl_k1(logp_BT: Tensor, ref_logp_BT: Tensor, *, kl_coef: float) -> Tensor:
    """log pi - log ref: unbiased in value, its gradient in the loss is 0 in expectation (joschu.net/blog/kl-approx)."""
    return kl_coef * (logp_BT - ref_logp_BT)


@waives(gradient_vanishes_without_advantage="the KL term pulls on every rollout")
def kl_k2(logp_BT: Tensor, ref_logp_BT: Tensor, *, kl_coef: float) -> Tensor:
    """(log pi - log ref)^2 / 2: biased in value, its gradient is that of KL(pi || ref) on policy."""
    return kl_coef * 0.5 * (logp_BT - ref_logp_BT) ** 2


@waives(gradient_vanishes_without_advantage="the KL term pulls on every rollout")
def kl_k3(logp_BT: Tensor, ref_logp_BT: Tensor, *, kl_coef: float) -> Tensor:
    """ref / pi - 1 - log(ref / pi): unbiased and never negative; GRPO's own term (arXiv 2402.03300, equation 4)."""
    log_BT = (ref_logp_BT - logp_BT).clamp(max=LOG_RATIO_LIMIT)
    return kl_coef * (log_BT.exp() - 1.0 - log_BT)


# correction: a factor without gradient for the gap between the trainer's old policy and the engine that sampled


@waives(on_policy_token_and_sequence_ratio_agree="the factor differs within a sequence; a sequence ratio averages it")
def truncated_token(gap_BT: Tensor, mask_BT: Tensor, *, correction_cap: float) -> Tensor:
    """min(pi_old / pi_engine, cap) per token (truncated importance sampling, fengyao.notion.site/off-policy-rl)."""
    return gap_BT.clamp(max=LOG_RATIO_LIMIT).exp().clamp(max=correction_cap)


def truncated_sequence(gap_BT: Tensor, mask_BT: Tensor, *, correction_cap: float) -> Tensor:
    """min(prod_t pi_old / pi_engine, cap): the whole response's ratio, the same for each of its tokens."""
    total_B1 = gap_BT.sum(dim=1, keepdim=True).clamp(max=LOG_RATIO_LIMIT)
    return total_B1.exp().clamp(max=correction_cap).expand_as(gap_BT)


@waives(on_policy_token_and_sequence_ratio_agree="the factor differs within a sequence; a sequence ratio averages it")
def masked_token(gap_BT: Tensor, mask_BT: Tensor, *, correction_low: float, correction_high: float) -> Tensor:
    """g = pi_old / pi_engine per token, and 0 outside [low, high] (IcePop, arXiv 2510.18855). N and T stay."""
    factor_BT = gap_BT.clamp(max=LOG_RATIO_LIMIT).exp()
    return inside(factor_BT, factor_BT, correction_low, correction_high)


def masked_sequence(gap_BT: Tensor, mask_BT: Tensor, *, correction_low: float, correction_high: float) -> Tensor:
    """G = prod_t g_t for every token, and 0 outside [low, high]. A long response is outside any band: use the mean."""
    factor_B1 = gap_BT.sum(dim=1, keepdim=True).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()
    return inside(factor_B1, factor_B1, correction_low, correction_high).expand_as(gap_BT)


@waives(on_policy_token_and_sequence_ratio_agree="the factor differs within a sequence; a sequence ratio averages it")
def masked_sequence_mean(gap_BT: Tensor, mask_BT: Tensor, *, correction_low: float, correction_high: float) -> Tensor:
    """g per token, and 0 for the whole response where exp(mean_t log g_t) is outside [low, high] (NeMo-RL)."""
    num_tokens_B1 = mask_BT.sum(dim=1, keepdim=True).clamp(min=1)
    mean_B1 = (gap_BT.sum(dim=1, keepdim=True) / num_tokens_B1).clamp(max=LOG_RATIO_LIMIT).exp()
    return inside(gap_BT.clamp(max=LOG_RATIO_LIMIT).exp(), mean_B1, correction_low, correction_high)


def inside(factor_BT: Tensor, judged_BT: Tensor, low: float, high: float) -> Tensor:
    return factor_BT.masked_fill((judged_BT < low) | (judged_BT > high), 0.0)
