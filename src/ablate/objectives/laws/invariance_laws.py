"""Laws about what an objective must not depend on."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from ablate.objectives.base import Objective
from ablate.objectives.batch import select_rows, update_batch
from ablate.objectives.laws.law import EXACT, ROUNDING, law
from ablate.objectives.laws.step import StepRollouts, loss_and_gradient, rows_of, step_batch

GARBAGE = 1e4  # written wherever there is no response token: it must not matter


def relative(actual: Tensor, expected: Tensor) -> float:
    """Largest difference, relative to the largest expected value where that is above 1."""
    if actual.numel() == 0:
        return 0.0
    difference = (actual - expected).abs().max().item()
    return difference / max(1.0, expected.abs().max().item()) if math.isfinite(difference) else math.inf


@law(ROUNDING, "the weights of an update sum to 1")
def weights_sum_to_one(objective: Objective, rollouts: StepRollouts) -> float:
    batch = step_batch(objective, rollouts)
    return abs(batch.weight_BT.sum().item() - float(batch.in_loss_B.any()))


@law(ROUNDING, "micro-batches add up to the update's gradient")
def micro_batches_add_up(objective: Objective, rollouts: StepRollouts) -> float:
    """One micro-batch per row, each computed on its own, compared with the whole update."""
    batch = step_batch(objective, rollouts)
    loss, gradient_BT = loss_and_gradient(objective, rollouts.logp_BT, batch)
    rows = [torch.tensor([row]) for row in range(batch.num_rows)]
    pieces = [loss_and_gradient(objective, rollouts.logp_BT[row], select_rows(batch, row)) for row in rows]
    sums = torch.stack([piece for piece, _ in pieces]).sum(), torch.cat([piece for _, piece in pieces])
    return max(relative(sums[0], loss), relative(sums[1], gradient_BT))


@law(ROUNDING, "prompts and padding leave the gradient alone")
def padding_changes_nothing(objective: Objective, rollouts: StepRollouts) -> float:
    """Every response gets prompt positions before it and padding after it, filled with garbage."""
    before, after = 3, 2
    batch = step_batch(objective, rollouts)
    loss, gradient_BT = loss_and_gradient(objective, rollouts.logp_BT, batch)

    def pad(value_BT: Tensor, filling: float) -> Tensor:
        value_BT = value_BT if filling == 0 else value_BT.masked_fill(~rollouts.mask_BT, filling)
        return torch.nn.functional.pad(value_BT, (before, after), value=filling)

    padded = replace(
        rollouts,
        mask_BT=pad(rollouts.mask_BT, 0),
        **{
            name: pad(getattr(rollouts, name), GARBAGE)
            for name in ("logp_BT", "rollout_logp_BT", "ref_logp_BT", "entropy_BT")
        },
        old_logp_BT=pad(rollouts.old_logp_BT, -GARBAGE),
    )
    padded_loss, padded_BT = loss_and_gradient(objective, padded.logp_BT, step_batch(objective, padded))
    outside = padded_BT[~padded.mask_BT].abs().sum().item()
    return max(relative(padded_loss, loss), relative(padded_BT[:, before:-after], gradient_BT), outside)


@law(ROUNDING, "the order of rows does not matter")
def row_order_changes_nothing(objective: Objective, rollouts: StepRollouts) -> float:
    batch = step_batch(objective, rollouts)
    loss, gradient_BT = loss_and_gradient(objective, rollouts.logp_BT, batch)
    order_B = torch.arange(batch.num_rows).flip(0)
    other_loss, other_BT = loss_and_gradient(objective, rollouts.logp_BT[order_B], select_rows(batch, order_B))
    return max(relative(other_loss, loss), relative(other_BT, gradient_BT[order_B]))


@law(ROUNDING, "the order of groups does not matter")
def group_order_changes_nothing(objective: Objective, rollouts: StepRollouts) -> float:
    num_groups, group_size = rollouts.reward_PG.shape
    order_P = torch.arange(num_groups).roll(1)
    other = rollouts.select_groups(order_P)
    loss, gradient_BT = loss_and_gradient(objective, rollouts.logp_BT, step_batch(objective, rollouts))
    other_loss, other_BT = loss_and_gradient(objective, other.logp_BT, step_batch(objective, other))
    row_B = (order_P[:, None] * group_size + torch.arange(group_size)).flatten()
    return max(relative(other_loss, loss), relative(other_BT, gradient_BT[row_B]))


@law(ROUNDING, "a constant added to a group's rewards changes no advantage")
def advantage_ignores_reward_shift(objective: Objective, rollouts: StepRollouts) -> float:
    return advantage_change(objective, rollouts, rollouts.reward_PG + 7.0)


# An eps next to a std of at least 0.5 moves an advantage by eps / std.
@law(1e-5, "a positive factor on a group's rewards changes no advantage")
def advantage_ignores_reward_scale(objective: Objective, rollouts: StepRollouts) -> float:
    return advantage_change(objective, rollouts, rollouts.reward_PG * 3.0)


def advantage_change(objective: Objective, rollouts: StepRollouts, reward_PG: Tensor) -> float:
    arguments = rollouts.truncated_PG, rollouts.length_PG
    return relative(
        objective.advantages(reward_PG, *arguments)[0], objective.advantages(rollouts.reward_PG, *arguments)[0]
    )


@law(EXACT, "a rollout with advantage 0 leaves no gradient")
def gradient_vanishes_without_advantage(objective: Objective, rollouts: StepRollouts) -> float:
    batch = step_batch(objective, rollouts)
    batch = replace(batch, advantage_B=torch.zeros_like(batch.advantage_B))
    return loss_and_gradient(objective, rollouts.logp_BT, batch)[1].abs().max().item()


@law(EXACT, "a masked or dropped rollout leaves no gradient and no trace")
def rows_out_of_the_loss_do_not_matter(objective: Objective, rollouts: StepRollouts) -> float:
    """Such rows have gradient 0, and their log-probabilities change neither the loss nor other rows."""
    batch = step_batch(objective, rollouts)
    out_B1 = ~batch.in_loss_B[:, None]
    loss, gradient_BT = loss_and_gradient(objective, rollouts.logp_BT, batch)
    other_BT = torch.where(out_B1, rollouts.logp_BT - 30.0, rollouts.logp_BT)
    other_loss, other_gradient_BT = loss_and_gradient(objective, other_BT, batch)
    inside = (gradient_BT * out_B1).abs().max().item()
    return max(inside, (other_loss - loss).abs().item(), (other_gradient_BT - gradient_BT).abs().max().item())


def why_no_selection(objective: Objective) -> str | None:
    return None if objective.selects else "every token of a row in the loss trains"


@law(EXACT, "the order of an update's rows and their padding do not change what is selected", why_no_selection)
def selection_ignores_row_order_and_padding(objective: Objective, rollouts: StepRollouts) -> float:
    """The rows arrive in another order and padded; as from other ranks and micro-batches."""
    batch = rows_of(objective, rollouts)
    order_B = torch.arange(batch.num_rows).flip(0)
    expected_BT = update_batch(batch, torch.arange(batch.num_rows), objective).selected_BT
    wide = replace(
        batch,
        mask_BT=torch.nn.functional.pad(batch.mask_BT, (2, 3)),
        **{
            name: torch.nn.functional.pad(getattr(batch, name), (2, 3), value=GARBAGE)
            for name in ("old_logp_BT", "rollout_logp_BT", "entropy_BT")
        },
    )
    found_BT = update_batch(wide, order_B, objective).selected_BT[order_B]
    return float((found_BT != torch.nn.functional.pad(expected_BT, (2, 3))).sum())


@law(EXACT, "rows that keep or overlong took out change nothing about what is selected", why_no_selection)
def selection_ignores_rows_out_of_the_loss(objective: Objective, rollouts: StepRollouts) -> float:
    batch = rows_of(objective, rollouts)
    out_B1 = ~batch.in_loss_B[:, None]
    other = replace(
        batch,
        old_logp_BT=torch.where(out_B1, GARBAGE, batch.old_logp_BT),
        entropy_BT=torch.where(out_B1, GARBAGE, batch.entropy_BT),
    )
    every_row = torch.arange(batch.num_rows)
    first, second = (update_batch(each, every_row, objective).selected_BT for each in (batch, other))
    return float((first != second).sum())


@law(EXACT, "N and T count what is selected, and only these tokens weigh", why_no_selection)
def weights_count_what_is_selected(objective: Objective, rollouts: StepRollouts) -> float:
    """The weights are those of a batch in which the other tokens never were."""
    batch = step_batch(objective, rollouts)
    left_BT = batch.selected_BT
    expected_BT = objective.weights(left_BT, left_BT.any(dim=1), batch.group_B)
    outside = (left_BT & ~(batch.mask_BT & batch.in_loss_B[:, None])).sum() + (batch.weight_BT[~left_BT] != 0).sum()
    return float((batch.weight_BT - expected_BT).abs().max() + outside)
