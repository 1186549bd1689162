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
    entropy_BT: Tensor | None = None,
    tokens_BS: Tensor | None = None,
) -> TrainBatch:
    """Return the rows with the advantages of the objective, and with weights as if all rows were one update.

    Nothing is selected yet: ``update_batch`` selects among the rows of an update, once its old policy is known.

    Advantages and weights get the dtype of ``rollout_logp_BT``: float32 in training, float64 in the laws.

    Args:
        reward_PG: raw verdict rewards, +1 or -1.
        truncated_PG: bool, True where the context limit cut the response off.
        length_PG: response tokens.
        mask_BT: bool, True exactly where token t + 1 belongs to the response.
        old_logp_BT: nats, of the policy that the updates are compared with.
        rollout_logp_BT: nats, of the engine.
        entropy_BT: nats, of the old policy, for an objective whose ``select`` reads it.
        ref_logp_BT: nats, of the frozen reference, for an objective with a KL term.
        tokens_BS: None where no model reads the rows.
    """
    advantage_PG, in_loss_PG = objective.advantages(reward_PG, truncated_PG, length_PG)
    in_loss_B = in_loss_PG.flatten() & mask_BT.any(dim=1)
    group_B = torch.arange(len(reward_PG)).repeat_interleave(reward_PG.shape[1])
    num_rows, num_predictions = mask_BT.shape
    return TrainBatch(
        tokens_BS=torch.zeros(num_rows, num_predictions + 1, dtype=torch.int64) if tokens_BS is None else tokens_BS,
        mask_BT=mask_BT,
        old_logp_BT=old_logp_BT,
        rollout_logp_BT=rollout_logp_BT,
        advantage_B=advantage_PG.flatten().to(rollout_logp_BT.dtype),
        in_loss_B=in_loss_B,
        weight_BT=objective.weights(mask_BT, in_loss_B, group_B).to(rollout_logp_BT.dtype),
        ref_logp_BT=ref_logp_BT,
        group_B=group_B,
        entropy_BT=entropy_BT,
    )


def update_batch(batch: TrainBatch, rows: Tensor, objective: Objective, seed: int = 0) -> TrainBatch:
    """The rows of one update: ``select`` runs over them, and they are weighed among themselves.

    N and T count the rows and tokens of this update that are left. The order of ``rows`` changes nothing.

    Args:
        seed: of this update, for a ``select`` that draws at random.
    """
    taken = select_rows(batch, rows)
    if objective.selects:
        order = rows.argsort()  # a row's number is its place in the order of draws
        selected_BT = objective.selection(select_rows(taken, order), seed)[order.argsort()]
        in_loss_B = taken.in_loss_B & selected_BT.any(dim=1)
        taken = replace(taken, selected_BT=selected_BT, in_loss_B=in_loss_B)
    weight_BT = objective.weights(taken.active_BT, taken.in_loss_B, taken.group_B)
    return replace(taken, weight_BT=weight_BT.to(batch.weight_BT.dtype))


def select_rows(batch: TrainBatch, rows: Tensor) -> TrainBatch:
    """Return some rows, or all of them in another order; weights and advantages stay with their rows."""
    return each_tensor(batch, lambda tensor: tensor[rows])


def each_tensor(batch: TrainBatch, change: Callable[[Tensor], Tensor]) -> TrainBatch:
    """Return the batch with ``change`` applied to every tensor that it has."""
    tensors = {field.name: getattr(batch, field.name) for field in fields(batch)}
    return TrainBatch(**{name: None if tensor is None else change(tensor) for name, tensor in tensors.items()})
