"""The one place where rollouts become a training batch: the trainer, the laws and the laboratory all build it here.

Shape suffixes: P prompts, G samples of one prompt, B = P G rows in row-major order, T predictions of a row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import torch
from torch import Tensor

from ablate.objectives.base import Objective
from ablate.types import TrainBatch


def build_batch(
    objective: Objective,
    *,
    reward_PG: Tensor,
    truncated_PG: Tensor,
    length_PG: Tensor,
    mask_BT: Tensor,
    old_logp_BT: Tensor,
    rollout_logp_BT: Tensor,
    ref_logp_BT: Tensor | None = None,
    tokens_BS: Tensor | None = None,
) -> TrainBatch:
    """Return the rows with the advantages of the objective, and with weights as if all rows were one update.

    Advantages and weights get the dtype of ``rollout_logp_BT``: float32 in training, float64 in the laws.

    Args:
        reward_PG: raw verdict rewards, +1 or -1.
        truncated_PG: bool, True where the context limit cut the response off.
        length_PG: response tokens.
        mask_BT: bool, True exactly where token t + 1 belongs to the response.
        old_logp_BT: nats, of the policy that the updates are compared with.
        rollout_logp_BT: nats, of the engine.
        ref_logp_BT: nats, of the frozen reference, for an objective with a KL term.
        tokens_BS: None where no model reads the rows.
    """
    advantage_PG, in_loss_PG = objective.advantages(reward_PG, truncated_PG, length_PG)
    in_loss_B = in_loss_PG.flatten()
    num_rows, num_predictions = mask_BT.shape
    return TrainBatch(
        tokens_BS=torch.zeros(num_rows, num_predictions + 1, dtype=torch.int64) if tokens_BS is None else tokens_BS,
        mask_BT=mask_BT,
        old_logp_BT=old_logp_BT,
        rollout_logp_BT=rollout_logp_BT,
        advantage_B=advantage_PG.flatten().to(rollout_logp_BT.dtype),
        in_loss_B=in_loss_B,
        weight_BT=objective.weights(mask_BT, in_loss_B).to(rollout_logp_BT.dtype),
        ref_logp_BT=ref_logp_BT,
    )


def update_batch(batch: TrainBatch, rows: Tensor, objective: Objective) -> TrainBatch:
    """Select the rows of one update and weigh them among themselves: N and T count the rows of this update only."""
    selected = select_rows(batch, rows)
    weight_BT = objective.weights(selected.mask_BT, selected.in_loss_B)
    return replace(selected, weight_BT=weight_BT.to(batch.weight_BT.dtype))


def select_rows(batch: TrainBatch, rows: Tensor) -> TrainBatch:
    """Return some rows, or all of them in another order; weights and advantages stay with their rows."""
    return each_tensor(batch, lambda tensor: tensor[rows])


def each_tensor(batch: TrainBatch, change: Callable[[Tensor], Tensor]) -> TrainBatch:
    """Return the batch with ``change`` applied to every tensor that it has."""
    tensors = {field.name: getattr(batch, field.name) for field in fields(batch)}
    return TrainBatch(**{name: None if tensor is None else change(tensor) for name, tensor in tensors.items()})
