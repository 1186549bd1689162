"""The slots about rewards before the advantage, and about rows: keep, shape and overlong.

Shape suffixes: P prompts, G samples of one prompt, B rows, T predictions; ``_B1`` broadcasts over T.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, ones_like

from ablate.objectives.parts.declare import waives

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
    return advantage_PG, ones_like(truncated_PG)


def zero_advantage(advantage_PG: Tensor, truncated_PG: Tensor) -> tuple[Tensor, Tensor]:
    """The advantage becomes 0; the response still counts in the group's mean and std and in N and T (NousCoder-14B)."""
    return advantage_PG.masked_fill(truncated_PG, 0.0), ones_like(truncated_PG)


def mask(advantage_PG: Tensor, truncated_PG: Tensor) -> tuple[Tensor, Tensor]:
    """Out of the loss, N and T; it still counts in the group's mean and std (arXiv 2503.14476, section 3.4)."""
    return advantage_PG, ~truncated_PG
