"""Random rollouts from a seed, the same on every platform; the laws and the golden values are computed on them."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch

from ablate.objectives.laws.step import StepRollouts


@dataclass(frozen=True)
class Shape:
    """What random rollouts look like. ``log_ratio_scale`` is the standard deviation of log pi - log pi_old in nats."""

    seed: int
    num_groups: int
    group_size: int
    max_length: int
    log_ratio_scale: float
    equal_lengths: bool = False


def random_rollouts(shape: Shape) -> StepRollouts:
    """Rollouts with lengths 1 to ``max_length``, in float64; a quarter truncated, some groups with one outcome."""
    rng = random.Random(shape.seed)
    num_rows = shape.num_groups * shape.group_size
    pass_rates = [rng.choice((0.0, 0.3, 0.5, 0.8, 1.0)) for _ in range(shape.num_groups)]
    rewards = [[1.0 if rng.random() < rate else -1.0 for _ in range(shape.group_size)] for rate in pass_rates]
    truncated = [[rng.random() < 0.25 for _ in range(shape.group_size)] for _ in range(shape.num_groups)]
    lengths = [shape.max_length if shape.equal_lengths else rng.randint(1, shape.max_length) for _ in range(num_rows)]

    def noise(scale: float) -> torch.Tensor:
        values = [[rng.gauss(0.0, scale) for _ in range(shape.max_length)] for _ in range(num_rows)]
        return torch.tensor(values, dtype=torch.float64)

    mask_BT = torch.arange(shape.max_length) < torch.tensor(lengths)[:, None]
    old_BT = -noise(1.0).abs()
    # Every row also gets one common shift: otherwise the mean over a long sequence is near 0, and nothing clips.
    shift_BT = noise(shape.log_ratio_scale)[:, :1] + noise(shape.log_ratio_scale)
    rollout_BT, ref_BT = old_BT + noise(0.5), old_BT + noise(0.5)
    return StepRollouts(
        reward_PG=torch.tensor(rewards, dtype=torch.float64),
        truncated_PG=torch.tensor(truncated),
        length_PG=torch.tensor(lengths).reshape(shape.num_groups, shape.group_size),
        mask_BT=mask_BT,
        logp_BT=(old_BT + shift_BT).masked_fill(~mask_BT, 0.0),
        old_logp_BT=old_BT.masked_fill(~mask_BT, 0.0),
        rollout_logp_BT=rollout_BT.masked_fill(~mask_BT, 0.0),
        ref_logp_BT=ref_BT.masked_fill(~mask_BT, 0.0),
        entropy_BT=noise(1.0).abs().masked_fill(~mask_BT, 0.0),
    )
