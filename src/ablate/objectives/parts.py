"""The named functions that fill an objective's slots.

A keyword-only parameter is a knob: the registry binds it from the YAML and complains when nobody reads a knob.
``@waives(law="reason")`` says which law of ``ablate.objectives.laws`` a part does not keep, and why.
Shape suffixes: P prompts, G samples of one prompt, B rows, T predictions; ``_B1`` broadcasts over T.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import TypeVar

import torch
from torch import Tensor

Part = TypeVar("Part", bound=Callable)


def waives(**reasons: str) -> Callable[[Part], Part]:
    """Declare laws that a part breaks on purpose, each with the reason."""

    def declare(part: Part) -> Part:
        part.waived_laws = MappingProxyType(reasons)
        return part

    return declare


# keep: which groups train under dynamic sampling


def mixed_outcomes(reward_G: Sequence[float]) -> bool:
    """DAPO's dynamic sampling (arXiv 2503.14476, equation 11): not all right, not all wrong."""
    return len(set(reward_G)) > 1


# shape: the reward before the advantage


def verdict(reward_PG: Tensor, truncated_PG: Tensor, length_PG: Tensor) -> Tensor:
    """The verdict's reward as it is."""
    return reward_PG


@waives(
    advantage_ignores_reward_shift="a group's lengths matter too", advantage_ignores_reward_scale="the penalty stays"
)
def soft_overlong_penalty(
    reward_PG: Tensor, truncated_PG: Tensor, length_PG: Tensor, *, max_length: int, buffer: int
) -> Tensor:
    """DAPO's soft overlong punishment (arXiv 2503.14476, equation 13), added to the verdict's reward.

    0 up to ``max_length - buffer`` response tokens, then falling linearly to -1 at ``max_length``. A truncated response
    gets -1 whatever its length: the paper's limit counts response tokens, ours prompt and response together, so a
    response after a long prompt is cut off before it has ``max_length`` tokens.
    """
    over_PG = (max_length - buffer - length_PG.to(reward_PG.dtype)) / buffer
    return reward_PG + over_PG.clamp(-1.0, 0.0).masked_fill(truncated_PG, -1.0)


# advantage


def has_one_reward(reward_PG: Tensor) -> Tensor:
    """P1: groups without spread. Their advantage is exactly 0; the mean's rounding error would be blown up by 1 / eps."""
    return (reward_PG == reward_PG[:, :1]).all(dim=1, keepdim=True)


def group_normalised(reward_PG: Tensor, *, eps: float) -> Tensor:
    """A = (R - mean) / (std + eps) over the group, std with ddof=1 (GRPO, arXiv 2402.03300, section 4.1.2)."""
    centred_PG = reward_PG - reward_PG.mean(dim=1, keepdim=True)
    std_P1 = reward_PG.std(dim=1, correction=1, keepdim=True)
    return (centred_PG / (std_P1 + eps)).masked_fill(has_one_reward(reward_PG), 0.0)


# ratio: log x from log pi - log pi_old


def token(log_ratio_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """x_it = r_it, one ratio per token."""
    return log_ratio_BT


def sequence(log_ratio_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """x_it = s_i = exp(mean_t log r_it), one ratio per sequence (GSPO, arXiv 2507.18071, equation 7)."""
    num_tokens_B1 = mask_BT.sum(dim=1, keepdim=True).clamp(min=1)
    return (log_ratio_BT.sum(dim=1, keepdim=True) / num_tokens_B1).expand_as(log_ratio_BT)


def unit(log_ratio_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """x = 1: an objective without a behaviour policy, such as supervised fine-tuning."""
    return torch.zeros_like(log_ratio_BT)


# surrogate


def clipped(ratio_BT: Tensor, advantage_B1: Tensor, logp_BT: Tensor, *, clip_low: float, clip_high: float) -> Tensor:
    """PPO's pessimistic clip, min(x A, clip(x, 1 - low, 1 + high) A), for both signs of A (arXiv 1707.06347)."""
    bounded_BT = ratio_BT.clamp(1.0 - clip_low, 1.0 + clip_high)
    return torch.minimum(ratio_BT * advantage_B1, bounded_BT * advantage_B1)


@waives(saturation="there is no clip")
def log_likelihood(ratio_BT: Tensor, advantage_B1: Tensor, logp_BT: Tensor) -> Tensor:
    """A log pi: REINFORCE with the given advantage, maximum likelihood when it is 1."""
    return logp_BT * advantage_B1


# weight


def sequence_mean(mask_BT: Tensor, in_loss_B: Tensor) -> Tensor:
    """1 / (N |o_i|): every sequence weighs the same. N counts the rows in the loss of the whole step."""
    num_tokens_B1 = mask_BT.sum(dim=1, keepdim=True).clamp(min=1)
    return mask_BT.double() / (num_tokens_B1 * in_loss_B.sum().clamp(min=1))


def token_mean(mask_BT: Tensor, in_loss_B: Tensor) -> Tensor:
    """1 / T: every token weighs the same. T counts the response tokens in the loss of the whole step."""
    return mask_BT.double() / mask_BT.sum().clamp(min=1)


@waives(gradient_vanishes_without_advantage="the advantage is the constant 1")
def one(reward_PG: Tensor) -> Tensor:
    """A = 1 for every rollout: imitation of all of them."""
    return torch.ones_like(reward_PG)


OVERLONG = ("off", "zero_advantage", "mask", "soft_penalty")

PARTS: dict[str, dict[str, Callable]] = {
    "keep": {"mixed_outcomes": mixed_outcomes},
    "shape": {"verdict": verdict, "soft_overlong_penalty": soft_overlong_penalty},
    "advantage": {"group_normalised": group_normalised, "one": one},
    "ratio": {"token": token, "sequence": sequence, "unit": unit},
    "surrogate": {"clipped": clipped, "log_likelihood": log_likelihood},
    "weight": {"sequence_mean": sequence_mean, "token_mean": token_mean},
    "kl": {},
    "correction": {},
}
