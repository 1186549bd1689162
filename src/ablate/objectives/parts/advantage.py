"""The slot advantage: one number per rollout, from the rewards and lengths of the groups that train.

Shape suffixes: P prompts, G samples of one prompt, B rows, T predictions; ``_B1`` broadcasts over T.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ablate.errors import UserError
from ablate.objectives.parts.declare import waives


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


@waives(
    advantage_ignores_reward_shift="the level of the rewards is the signal",
    advantage_ignores_reward_scale="the level of the rewards is the signal, and none may be negative",
)
def mean_normalised(reward_PG: Tensor) -> Tensor:
    """A = (R - mean) / mean; 0 for a group whose mean is 0 (MaxRL, arXiv 2602.02710). Rewards are 0 or above.

    Raises:
        UserError: for a negative reward, with which the formula changes its sign below a mean of 0.
    """
    if (reward_PG < 0).any():
        raise UserError(
            f"advantage=mean_normalised needs rewards of 0 or above, not {reward_PG.min().item():g}: "
            "set objective.shape=one_or_zero"
        )
    mean_P1 = reward_PG.mean(dim=1, keepdim=True)
    scaled_PG = (reward_PG - mean_P1) / mean_P1.masked_fill(mean_P1 == 0, 1.0)
    return scaled_PG.masked_fill(has_one_reward(reward_PG), 0.0)


def group_mean_batch_std(reward_PG: Tensor, *, eps: float) -> Tensor:
    """A = (R - mean of the group) / (std of all rewards of the batch + eps), ddof 1 (Lite PPO, arXiv 2508.08221)."""
    std = reward_PG.std(correction=1) if reward_PG.numel() > 1 else reward_PG.new_zeros(())
    return (centred(reward_PG) / (std + eps)).masked_fill(has_one_reward(reward_PG), 0.0)


def group_mean_advantage_std(reward_PG: Tensor, *, eps: float) -> Tensor:
    """A = a / (sigma + eps), a = R - mean of the group, sigma^2 the mean of a^2 over the groups with two outcomes.

    ScaleRL, arXiv 2510.13786, section 4. The paper gives no ddof and does not say which groups count.
    """
    mixed_P = ~has_one_reward(reward_PG)[:, 0]
    if not mixed_P.any():
        return torch.zeros_like(reward_PG)
    centred_PG = centred(reward_PG)
    return centred_PG / (centred_PG[mixed_P].square().mean().sqrt() + eps)


def batch_normalised(reward_PG: Tensor, length_PG: Tensor, *, eps: float) -> Tensor:
    """A = (R - m) / (s + eps), m and s the mean and population std over all response tokens (REINFORCE++, 2501.03262).

    A group with one outcome has an advantage, because the baseline is global.
    """
    return whitened(reward_PG, length_PG, eps)


def group_mean_batch_normalised(reward_PG: Tensor, length_PG: Tensor, *, eps: float) -> Tensor:
    """As ``batch_normalised`` with R - mean of the group for R (REINFORCE++ baseline, arXiv 2501.03262).

    The mean over tokens is not 0 where lengths differ, and it is subtracted: a group with one outcome gets -m / s.
    """
    return whitened(centred(reward_PG), length_PG, eps)


@waives(advantage_ignores_reward_scale="no division by a spread")
def length_weighted_baseline(reward_PG: Tensor, length_PG: Tensor) -> Tensor:
    """A_i = R_i - sum |o_j| R_j / sum |o_j| over the group (OPO, arXiv 2505.23585); 0 for a group with one outcome."""
    length_PG = length_PG.to(reward_PG.dtype)
    total_P1 = length_PG.sum(dim=1, keepdim=True).clamp(min=1)
    baseline_P1 = (length_PG * reward_PG).sum(dim=1, keepdim=True) / total_P1
    return (reward_PG - baseline_P1).masked_fill(has_one_reward(reward_PG), 0.0)


@waives(
    advantage_ignores_reward_shift="the level of the rewards is the signal",
    advantage_ignores_reward_scale="the level of the rewards is the signal",
)
def reward(reward_PG: Tensor) -> Tensor:
    """A = R, without a baseline (TOPR, arXiv 2503.14286). A group with one outcome has an advantage."""
    return reward_PG


@waives(advantage_ignores_reward_shift="pass or fail is read from the sign of the reward")
def pass_at_k(reward_PG: Tensor, *, pass_k: int, eps: float) -> Tensor:
    """The advantage of the best of k responses (Pass@k training, arXiv 2508.10751, equations 14 and 15).

    With F failures (R <= 0) among G, f = C(F, k) / C(G, k) and sigma = sqrt(f (1 - f)): a response that passed gets
    f / (sigma + eps), one that failed (f - C(F - 1, k - 1) / C(G - 1, k - 1)) / (sigma + eps).

    Raises:
        UserError: for k above G.
    """
    size = reward_PG.shape[1]
    if pass_k > size:
        raise UserError(
            f"objective.pass_k={pass_k} is more than the {size} rollouts of a group: lower it, or raise "
            "rollout.samples_per_prompt"
        )
    rows = []
    for failed in (reward_PG <= 0).sum(dim=1).tolist():
        share = math.comb(failed, pass_k) / math.comb(size, pass_k)
        sigma = math.sqrt(share * (1.0 - share))
        without = math.comb(failed - 1, pass_k - 1) / math.comb(size - 1, pass_k - 1) if failed else 0.0
        rows.append((share / (sigma + eps), (share - without) / (sigma + eps)) if sigma else (0.0, 0.0))
    passed_P2 = torch.tensor(rows, dtype=reward_PG.dtype, device=reward_PG.device)
    return torch.where(reward_PG > 0, passed_P2[:, :1], passed_P2[:, 1:])


@waives(advantage_ignores_reward_scale="no division by a spread")
def best_of_group(reward_PG: Tensor) -> Tensor:
    """A_i = max_j R_j - max_{j != i} R_j (arXiv 2503.19595): not 0 for a group's only pass, and for nothing else."""
    if reward_PG.shape[1] == 1:
        return torch.zeros_like(reward_PG)
    best_P2 = reward_PG.topk(2, dim=1).values
    is_best_PG = reward_PG == best_P2[:, :1]
    return torch.where(is_best_PG, best_P2[:, :1] - best_P2[:, 1:], 0.0)


def shortest_of_group(reward_PG: Tensor, length_PG: Tensor, *, keep_count: int, eps: float) -> Tensor:
    """Only the ``keep_count`` shortest responses have an advantage: (R - mean) / (population std + eps) among them.

    GFPO, arXiv 2508.09726. Ties go to the lower sample. The other rows have A = 0 and stay in N and T.
    """
    return among_first(reward_PG, length_PG.to(reward_PG.dtype), keep_count, eps)


@waives(advantage_ignores_reward_shift="ranks responses by reward per token")
def most_efficient_of_group(reward_PG: Tensor, length_PG: Tensor, *, keep_count: int, eps: float) -> Tensor:
    """As ``shortest_of_group`` with the responses of the largest R / |o| (GFPO, arXiv 2508.09726).

    With rewards +1 and -1 it prefers the longest failures; shape=one_or_zero does not.
    """
    return among_first(reward_PG, -reward_PG / length_PG.clamp(min=1), keep_count, eps)


def among_first(reward_PG: Tensor, rank_PG: Tensor, keep_count: int, eps: float) -> Tensor:
    """The group-normalised advantage, ddof 0, of the rows with the smallest ``rank`` among themselves; 0 elsewhere."""
    chosen_PK = rank_PG.argsort(dim=1, stable=True)[:, :keep_count]
    chosen_reward_PK = reward_PG.gather(1, chosen_PK)
    return torch.zeros_like(reward_PG).scatter(1, chosen_PK, group_normalised_population(chosen_reward_PK, eps=eps))


def centred(reward_PG: Tensor) -> Tensor:
    """R - mean of the group, exactly 0 for a group with one outcome."""
    return (reward_PG - reward_PG.mean(dim=1, keepdim=True)).masked_fill(has_one_reward(reward_PG), 0.0)


def whitened(value_PG: Tensor, length_PG: Tensor, eps: float) -> Tensor:
    """(value - m) / (s + eps), m and s over all response tokens of the batch; 0 where all values are equal."""
    if (value_PG == value_PG[0, 0]).all():
        return torch.zeros_like(value_PG)
    length_PG = length_PG.to(value_PG.dtype)
    total = length_PG.sum().clamp(min=1)
    centred_PG = value_PG - (length_PG * value_PG).sum() / total
    std = ((length_PG * centred_PG.square()).sum() / total).sqrt()
    return centred_PG / (std + eps)
