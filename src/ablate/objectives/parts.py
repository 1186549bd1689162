"""The named functions that fill an objective's slots.

A keyword-only parameter is a knob: the registry binds it from the YAML. ``@waives(law="reason")`` says which law of
``ablate.objectives.laws`` a part does not keep, and why; ``@declares(fact=value)`` states what others ask about a part.
Shape suffixes: P prompts, G samples of one prompt, B rows, T predictions; ``_B1`` broadcasts over T.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import TypeVar

import torch
from torch import Tensor

Part = TypeVar("Part", bound=Callable)

# exp overflows float32 just above 88, and inf * 0 is nan in a backward pass. Beyond the limit a ratio is constant.
LOG_RATIO_LIMIT = 80.0


def waives(**reasons: str) -> Callable[[Part], Part]:
    """Declare laws that a part breaks on purpose, each with the reason."""

    def declare(part: Part) -> Part:
        part.waived_laws = MappingProxyType(reasons)
        return part

    return declare


def declares(**facts: bool) -> Callable[[Part], Part]:
    """State facts about a ratio: ``needs_old_logp`` (True if unsaid), ``is_per_sequence`` (False if unsaid)."""

    def declare(part: Part) -> Part:
        for name, value in facts.items():
            setattr(part, name, value)
        return part

    return declare


# keep: which groups train


def all_groups(reward_G: Sequence[float]) -> bool:
    """Every group trains."""
    return True


def mixed_outcomes(reward_G: Sequence[float]) -> bool:
    """DAPO's dynamic sampling (arXiv 2503.14476, equation 11): some right, some wrong."""
    return len(set(reward_G)) > 1


# shape: the reward before the advantage


def verdict(reward_PG: Tensor, truncated_PG: Tensor, length_PG: Tensor) -> Tensor:
    """The reward of the verdict, unchanged."""
    return reward_PG


def one_or_zero(reward_PG: Tensor, truncated_PG: Tensor, length_PG: Tensor) -> Tensor:
    """(R + 1) / 2: 1 for a program that passes, else 0 (DeepCoder), where the verdict's reward is +1 or -1.

    With ``group_normalised`` the advantage is that of +1 / -1 with twice the eps, (R - mean) / (std + 2 eps): smaller
    by a share below eps / std. With ``group_centred`` or ``leave_one_out``, without division by the std, it is half.
    """
    return (reward_PG + 1.0) / 2.0


@waives(advantage_ignores_reward_scale="the penalty does not grow with the reward")
def soft_overlong_penalty(
    reward_PG: Tensor, truncated_PG: Tensor, length_PG: Tensor, *, max_length: int, buffer: int
) -> Tensor:
    """DAPO's soft overlong punishment (arXiv 2503.14476, equation 13), added to the verdict's reward.

    0 up to ``max_length - buffer`` response tokens, then falling linearly to -1 at ``max_length``. A truncated response
    gets -1 whatever its length: the paper's limit counts response tokens, and ours counts the prompt as well, so a
    response after a long prompt is cut off before it has ``max_length`` tokens.
    """
    over_PG = (max_length - buffer - length_PG.to(reward_PG.dtype)) / buffer
    return reward_PG + over_PG.clamp(-1.0, 0.0).masked_fill(truncated_PG, -1.0)


# overlong: what happens to a response that the context limit cut off


def train(advantage_PG: Tensor, truncated_PG: Tensor) -> tuple[Tensor, Tensor]:
    """A truncated response trains like any other, as a failure."""
    return advantage_PG, torch.ones_like(truncated_PG)


def zero_advantage(advantage_PG: Tensor, truncated_PG: Tensor) -> tuple[Tensor, Tensor]:
    """The advantage becomes 0; the response still counts in the group's mean and std and in N and T (NousCoder-14B)."""
    return advantage_PG.masked_fill(truncated_PG, 0.0), torch.ones_like(truncated_PG)


def mask(advantage_PG: Tensor, truncated_PG: Tensor) -> tuple[Tensor, Tensor]:
    """Out of the loss, N and T; it still counts in the group's mean and std (arXiv 2503.14476, section 3.4)."""
    return advantage_PG, ~truncated_PG


# advantage


def has_one_reward(reward_PG: Tensor) -> Tensor:
    """[P, 1], True for a group without spread: its advantage is exactly 0, as 1 / eps would inflate rounding errors."""
    return (reward_PG == reward_PG[:, :1]).all(dim=1, keepdim=True)


def group_normalised(reward_PG: Tensor, *, eps: float) -> Tensor:
    """A = (R - mean) / (std + eps) over the group, std with ddof=1 (GRPO, arXiv 2402.03300, section 4.1.2)."""
    centred_PG = reward_PG - reward_PG.mean(dim=1, keepdim=True)
    std_P1 = reward_PG.std(dim=1, correction=1, keepdim=True)
    return (centred_PG / (std_P1 + eps)).masked_fill(has_one_reward(reward_PG), 0.0)


def group_normalised_population(reward_PG: Tensor, *, eps: float) -> Tensor:
    """As ``group_normalised`` with ddof=0, numpy's convention: larger by sqrt(G / (G - 1))."""
    centred_PG = reward_PG - reward_PG.mean(dim=1, keepdim=True)
    std_P1 = reward_PG.std(dim=1, correction=0, keepdim=True)
    return (centred_PG / (std_P1 + eps)).masked_fill(has_one_reward(reward_PG), 0.0)


@waives(advantage_ignores_reward_scale="no division by the std: it would weigh prompts by difficulty (2503.20783)")
def group_centred(reward_PG: Tensor) -> Tensor:
    """A = R - mean(R) (Dr. GRPO, arXiv 2503.20783)."""
    return (reward_PG - reward_PG.mean(dim=1, keepdim=True)).masked_fill(has_one_reward(reward_PG), 0.0)


@waives(advantage_ignores_reward_scale="the baseline is a mean of rewards, without a division by their spread")
def leave_one_out(reward_PG: Tensor) -> Tensor:
    """A_i = R_i - mean of the other G - 1 rewards (RLOO, arXiv 2402.14740); 0 for a group of one."""
    others_PG = (reward_PG.sum(dim=1, keepdim=True) - reward_PG) / max(reward_PG.shape[1] - 1, 1)
    return (reward_PG - others_PG).masked_fill(has_one_reward(reward_PG), 0.0)


def one(reward_PG: Tensor) -> Tensor:
    """A = 1 for every rollout: every rollout is imitated."""
    return torch.ones_like(reward_PG)


# ratio: log x from log pi - log pi_old


def token(log_ratio_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """x_it = r_it, one ratio per token."""
    return log_ratio_BT


@declares(is_per_sequence=True)
def sequence(log_ratio_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """x_it = s_i = exp(mean_t log r_it), one ratio per sequence (GSPO, arXiv 2507.18071, equation 7)."""
    num_tokens_B1 = mask_BT.sum(dim=1, keepdim=True).clamp(min=1)
    return (log_ratio_BT.sum(dim=1, keepdim=True) / num_tokens_B1).expand_as(log_ratio_BT)


@declares(is_per_sequence=True)
@waives(central_differences="its definition has a stop-gradient, which shows when weights differ within a row")
def sequence_value_token_gradient(log_ratio_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """GSPO-token: s_i in value, each token's own gradient, sg[s_i] pi / sg[pi] (arXiv 2507.18071, equation 14)."""
    return sequence(log_ratio_BT, mask_BT).detach() + log_ratio_BT - log_ratio_BT.detach()


@declares(needs_old_logp=False)
def unit(log_ratio_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """x = 1: an objective without a behaviour policy, such as supervised fine-tuning."""
    return torch.zeros_like(log_ratio_BT)


# surrogate


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


# weight


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


def named(*parts: Callable) -> dict[str, Callable]:
    return {part.__name__: part for part in parts}


PARTS: dict[str, dict[str, Callable]] = {
    "keep": {"all": all_groups, "mixed_outcomes": mixed_outcomes},
    "shape": named(verdict, one_or_zero, soft_overlong_penalty),
    "overlong": named(train, zero_advantage, mask),
    "advantage": named(group_normalised, group_normalised_population, group_centred, leave_one_out, one),
    "ratio": named(token, sequence, sequence_value_token_gradient, unit),
    "surrogate": named(clipped, clipped_weight, log_likelihood),
    "weight": named(sequence_mean, token_mean, constant_length),
    "kl": {"k1": kl_k1, "k2": kl_k2, "k3": kl_k3},
    "correction": named(truncated_token, truncated_sequence),
}
