"""The rollouts of one update as plain tensors, without a model. Cases, laws and golden values are computed on them.

Shape suffixes: P prompts, G samples of one prompt, B = P G rows in row-major order, T predictions of a row.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import partial

import torch
from torch import Tensor

from ablate.errors import UserError
from ablate.objectives import parts
from ablate.objectives.base import Objective
from ablate.objectives.batch import build_batch, update_batch
from ablate.types import TrainBatch


@dataclass(frozen=True)
class StepRollouts:
    """Verdicts and log-probabilities (nats) of the rollouts of one update; the rows hold responses only."""

    reward_PG: Tensor  # raw verdict rewards
    truncated_PG: Tensor  # bool
    length_PG: Tensor  # response tokens
    mask_BT: Tensor  # bool
    logp_BT: Tensor  # of the policy that is trained
    old_logp_BT: Tensor
    rollout_logp_BT: Tensor  # the engine's
    ref_logp_BT: Tensor | None
    entropy_BT: Tensor | None = None  # of the old policy

    def select_groups(self, index_P: Tensor) -> StepRollouts:
        """The same rollouts with their groups reordered, or fewer of them."""
        group_size = self.reward_PG.shape[1]
        row_B = (index_P[:, None] * group_size + torch.arange(group_size)).flatten()
        per_group = {name: getattr(self, name)[index_P] for name in ("reward_PG", "truncated_PG", "length_PG")}
        names = ("mask_BT", "logp_BT", "old_logp_BT", "rollout_logp_BT", "ref_logp_BT", "entropy_BT")
        return StepRollouts(
            **per_group,
            **{name: None if getattr(self, name) is None else getattr(self, name)[row_B] for name in names},
        )


def with_every_row(objective: Objective) -> Objective:
    """The objective with every token in the loss, whatever the group's outcomes and however the response ended."""
    every_row = {"keep": parts.rewards.all_groups, "overlong": parts.rewards.train, "select": parts.select.all_tokens}
    slots = replace(objective.slots, **{slot: partial(part) for slot, part in every_row.items()})
    return replace(objective, slots=slots)


def step_batch(objective: Objective, rollouts: StepRollouts) -> TrainBatch:
    """Build the ``TrainBatch`` of the update, with the functions that training uses.

    Raises:
        UserError: when the objective reads reference log-probabilities or entropies that the rollouts do not have.
    """
    if objective.needs_reference and rollouts.ref_logp_BT is None:
        raise UserError(f"kl={objective.part_names['kl']} needs ref_logp: add it, or set kl to null")
    return update_batch(rows_of(objective, rollouts), torch.arange(rollouts.mask_BT.shape[0]), objective)


def rows_of(objective: Objective, rollouts: StepRollouts) -> TrainBatch:
    """The rows of the update before anything is selected."""
    given = {field.name: getattr(rollouts, field.name) for field in fields(rollouts) if field.name != "logp_BT"}
    return build_batch(objective, **given)


def loss_and_gradient(objective: Objective, logp_BT: Tensor, batch: TrainBatch) -> tuple[Tensor, Tensor]:
    """(loss, d loss / d logp_BT)."""
    logp_BT = logp_BT.detach().requires_grad_()
    loss = objective.loss(logp_BT, batch)
    (gradient_BT,) = torch.autograd.grad(loss, logp_BT)
    return loss.detach(), gradient_BT
