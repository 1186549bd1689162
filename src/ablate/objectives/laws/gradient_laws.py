"""Laws about the gradient itself."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from ablate.objectives import parts
from ablate.objectives.base import Objective
from ablate.objectives.batch import each_tensor, select_rows
from ablate.objectives.laws import closed_form
from ablate.objectives.laws.invariance_laws import relative
from ablate.objectives.laws.law import EXACT, ROUNDING, law
from ablate.objectives.laws.step import StepRollouts, loss_and_gradient, step_batch, with_every_row
from ablate.objectives.metrics import step_metrics
from ablate.types import TrainBatch


@law(ROUNDING, "autograd equals the closed form", closed_form.why_unknown)
def autograd_is_the_closed_form(objective: Objective, rollouts: StepRollouts) -> float:
    batch = step_batch(objective, rollouts)
    _, gradient_BT = loss_and_gradient(objective, rollouts.logp_BT, batch)
    return relative(gradient_BT, closed_form.closed_form_gradient(objective, rollouts.logp_BT, batch))


@law(1e-6, "autograd equals central differences")
def central_differences(objective: Objective, rollouts: StepRollouts) -> float:
    """At most 40 tokens, each stepped up and down; tokens close to a kink are left out."""
    step_nats = 1e-6
    batch = step_batch(objective, rollouts)
    _, gradient_BT = loss_and_gradient(objective, rollouts.logp_BT, batch)
    smooth_BT = rollouts.mask_BT & ~near_kink(objective, rollouts.logp_BT, batch, 10 * step_nats)
    worst = 0.0
    for row, position in smooth_BT.nonzero()[:40].tolist():
        ends = []
        for sign in (1.0, -1.0):
            logp_BT = rollouts.logp_BT.clone()
            logp_BT[row, position] += sign * step_nats
            ends.append(objective.loss(logp_BT[row : row + 1], select_rows(batch, torch.tensor([row]))))
        slope = (ends[0] - ends[1]) / (2 * step_nats)
        worst = max(worst, relative(slope, gradient_BT[row, position]))
    return worst


def near_kink(objective: Objective, logp_BT: Tensor, batch: TrainBatch, within_nats: float) -> Tensor:
    """Where the gradient jumps within a distance: at the bound of a clip, the threshold of a mask, or a cap."""
    ends = [
        loss_and_gradient(objective, logp_BT + sign * within_nats * batch.mask_BT, batch)[1] for sign in (-1.0, 1.0)
    ]
    return (ends[1] - ends[0]).abs() > 1e-3 * (ends[1].abs() + ends[0].abs())


def finite_bounds(objective: Objective) -> list[float]:
    """The bounds that a ratio, which is above 0 and below infinity, can pass."""
    return [bound for bound in objective.clip_bounds if 0 < bound < math.inf]


def why_no_saturation(objective: Objective) -> str | None:
    return None if finite_bounds(objective) else "there is no clip range"


def why_not_pure(objective: Objective) -> str | None:
    if objective.slots.surrogate.func is parts.surrogate.geometric_mean and (objective.selects or objective.correction):
        return "a mean over the row pulls on all of its tokens alike; a selection and a correction do not"
    return None if objective.kl is None else "the KL term has a gradient of its own"


@law(EXACT, "beyond the clip the pessimistic side has gradient 0, the other side has not", why_no_saturation)
def saturation(objective: Objective, rollouts: StepRollouts) -> float:
    """Outside the clip: gradient exactly 0 on the pessimistic side for both signs of A, and not 0 on the other side."""
    objective = replace(with_every_row(objective), correction=None, kl=None)
    batch = step_batch(objective, rollouts)
    deviation = 0.0
    for bound in finite_bounds(objective):
        away = 0.1 if bound > 1 else -0.1
        logp_BT = rollouts.old_logp_BT + (math.log(bound) + away) * rollouts.mask_BT
        for sign in (-1.0, 1.0):
            signed = replace(batch, advantage_B=torch.full_like(batch.advantage_B, sign))
            gradient_BT = loss_and_gradient(objective, logp_BT, signed)[1]
            size = gradient_BT[rollouts.mask_BT].abs()
            is_pessimistic = sign * away > 0
            deviation = max(deviation, size.max().item() if is_pessimistic else float(size.min().item() == 0.0))
    return deviation


@law(ROUNDING, "on policy, token and sequence ratio give one gradient")
def on_policy_token_and_sequence_ratio_agree(objective: Objective, rollouts: StepRollouts) -> float:
    """With logp = old_logp it does not matter which ratio fills the slot."""
    on_policy = replace(rollouts, logp_BT=rollouts.old_logp_BT)
    gradients = []
    for ratio in (parts.ratio.token, parts.ratio.sequence, parts.ratio.sequence_value_token_gradient):
        other = replace(objective, slots=replace(objective.slots, ratio=partial(ratio)))
        batch = step_batch(other, on_policy)
        gradients.append(loss_and_gradient(other, on_policy.logp_BT, batch)[1])
    return max(relative(gradient, gradients[0]) for gradient in gradients[1:])


@law(ROUNDING, "on policy the gradient is - weight * correction * advantage", why_not_pure)
def on_policy_gradient_is_the_advantage(objective: Objective, rollouts: StepRollouts) -> float:
    """With logp = old_logp and the token ratio, every surrogate has the gradient of REINFORCE."""
    objective = replace(objective, slots=replace(objective.slots, ratio=partial(parts.ratio.token)))
    batch = step_batch(objective, replace(rollouts, logp_BT=rollouts.old_logp_BT))
    factor_BT = 1.0 if objective.correction is None else objective.correction_factor(batch)
    expected_BT = -batch.weight_BT * factor_BT * batch.advantage_B[:, None]
    return relative(loss_and_gradient(objective, rollouts.old_logp_BT, batch)[1], expected_BT)


@law(1e-3, "finite and stable in float32 at log-ratios of +-30")
def stable_in_float32(objective: Objective, rollouts: StepRollouts) -> float:
    """Log-ratios of +-30 nats: finite, and the float32 gradient is the float64 one to 1e-3 of its largest entry."""
    direction_BT = torch.where(rollouts.logp_BT > rollouts.old_logp_BT, 30.0, -30.0)
    extreme_BT = rollouts.old_logp_BT + direction_BT * rollouts.mask_BT
    batch = step_batch(objective, rollouts)
    return float32_deviation(objective, extreme_BT, batch)


@law(1e-3, "finite and stable in float32 over 80,000 tokens", every=3)
def stable_over_80000_tokens(objective: Objective, rollouts: StepRollouts) -> float:
    """Two rows of the first group (or more, if the advantage needs them), their tokens repeated to 80,000."""
    num_rows = max(2, objective.min_group_size)
    repeats = -(-80_000 // rollouts.mask_BT.shape[1])
    long = {
        name: getattr(rollouts, name)[:num_rows].repeat(1, repeats)
        for name in ("mask_BT", "logp_BT", "old_logp_BT", "rollout_logp_BT", "ref_logp_BT", "entropy_BT")
    }
    per_group = {name: getattr(rollouts, name)[:1, :num_rows] for name in ("reward_PG", "truncated_PG")}
    length_PG = long["mask_BT"].sum(dim=1)[None]
    batch = step_batch(objective, StepRollouts(**per_group, **long, length_PG=length_PG))
    return float32_deviation(objective, long["logp_BT"], batch)


def float32_deviation(objective: Objective, logp_BT: Tensor, batch: TrainBatch) -> float:
    """How far the float32 gradient is from the float64 one, relative to its largest entry; infinite on overflow."""
    exact_BT = loss_and_gradient(objective, logp_BT, batch)[1]
    single = each_tensor(batch, lambda value: value.float() if value.dtype == torch.float64 else value)
    loss, gradient_BT = loss_and_gradient(objective, logp_BT.float(), single)
    metrics = step_metrics(objective, logp_BT.float(), single)
    if not (loss.isfinite() and gradient_BT.isfinite().all() and all(map(math.isfinite, metrics.values()))):
        return math.inf
    return (gradient_BT.double() - exact_BT).abs().max().item() / max(exact_BT.abs().max().item(), 1e-30)
