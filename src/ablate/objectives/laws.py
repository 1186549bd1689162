"""Laws that every objective keeps, whatever its parts, or whose breach one of its parts declares with a reason.

A law is a function ``(objective, rollouts) -> deviation``; it holds where the deviation is at most its tolerance. The
laws know no preset by name, so a new objective is tested without a test being written:

    python -m ablate.replay laws=my_objective
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from ablate.objectives import closed_form, parts
from ablate.objectives.base import Objective
from ablate.objectives.step import StepRollouts, loss_and_gradient, select_rows, step_batch
from ablate.objectives.synthetic import Shape, random_rollouts
from ablate.types import TrainBatch

EXACT = 0.0
ROUNDING = 1e-9  # relative, float64
GARBAGE = 1e4  # stands where no response token is; whatever is there must not matter


@dataclass(frozen=True)
class Law:
    deviation: Callable[[Objective, StepRollouts], float]
    tolerance: float
    says: str


@dataclass(frozen=True)
class Finding:
    """What one law says about one objective. ``status``: holds | broken | waived | not applicable."""

    law: str
    status: str
    detail: str


def relative(actual: Tensor, expected: Tensor) -> float:
    """Largest difference, relative to the largest expected value where that is above 1."""
    if actual.numel() == 0:
        return 0.0
    difference = (actual - expected).abs().max().item()
    return difference / max(1.0, expected.abs().max().item()) if math.isfinite(difference) else math.inf


def weights_sum_to_one(objective: Objective, rollouts: StepRollouts) -> float:
    batch, in_loss_PG = step_batch(objective, rollouts)
    return abs(batch.weight_BT.sum().item() - float(in_loss_PG.any()))


def micro_batches_add_up(objective: Objective, rollouts: StepRollouts) -> float:
    """One micro-batch per row, each computed on its own, against the whole step."""
    batch, _ = step_batch(objective, rollouts)
    loss, gradient_BT = loss_and_gradient(objective, rollouts.logp_BT, batch)
    rows = [torch.tensor([row]) for row in range(batch.num_rows)]
    pieces = [loss_and_gradient(objective, rollouts.logp_BT[row], select_rows(batch, row)) for row in rows]
    sums = torch.stack([piece for piece, _ in pieces]).sum(), torch.cat([piece for _, piece in pieces])
    return max(relative(sums[0], loss), relative(sums[1], gradient_BT))


def padding_changes_nothing(objective: Objective, rollouts: StepRollouts) -> float:
    """Prompt positions before and padding after every response, with garbage in them."""
    before, after = 3, 2
    batch, _ = step_batch(objective, rollouts)
    loss, gradient_BT = loss_and_gradient(objective, rollouts.logp_BT, batch)

    def pad(value_BT: Tensor, filling: float) -> Tensor:
        value_BT = value_BT if filling == 0 else value_BT.masked_fill(~rollouts.mask_BT, filling)
        return torch.nn.functional.pad(value_BT, (before, after), value=filling)

    padded = replace(
        rollouts,
        mask_BT=pad(rollouts.mask_BT, 0),
        **{name: pad(getattr(rollouts, name), GARBAGE) for name in ("logp_BT", "rollout_logp_BT", "ref_logp_BT")},
        old_logp_BT=pad(rollouts.old_logp_BT, -GARBAGE),
    )
    padded_loss, padded_BT = loss_and_gradient(objective, padded.logp_BT, step_batch(objective, padded)[0])
    outside = padded_BT[~padded.mask_BT].abs().sum().item()
    return max(relative(padded_loss, loss), relative(padded_BT[:, before:-after], gradient_BT), outside)


def row_order_changes_nothing(objective: Objective, rollouts: StepRollouts) -> float:
    batch, _ = step_batch(objective, rollouts)
    loss, gradient_BT = loss_and_gradient(objective, rollouts.logp_BT, batch)
    order_B = torch.arange(batch.num_rows).flip(0)
    other_loss, other_BT = loss_and_gradient(objective, rollouts.logp_BT[order_B], select_rows(batch, order_B))
    return max(relative(other_loss, loss), relative(other_BT, gradient_BT[order_B]))


def group_order_changes_nothing(objective: Objective, rollouts: StepRollouts) -> float:
    num_groups, group_size = rollouts.reward_PG.shape
    order_P = torch.arange(num_groups).roll(1)
    other = rollouts.select_groups(order_P)
    loss, gradient_BT = loss_and_gradient(objective, rollouts.logp_BT, step_batch(objective, rollouts)[0])
    other_loss, other_BT = loss_and_gradient(objective, other.logp_BT, step_batch(objective, other)[0])
    row_B = (order_P[:, None] * group_size + torch.arange(group_size)).flatten()
    return max(relative(other_loss, loss), relative(other_BT, gradient_BT[row_B]))


def advantage_ignores_reward_shift(objective: Objective, rollouts: StepRollouts) -> float:
    return advantage_change(objective, rollouts, rollouts.reward_PG + 7.0)


def advantage_ignores_reward_scale(objective: Objective, rollouts: StepRollouts) -> float:
    return advantage_change(objective, rollouts, rollouts.reward_PG * 3.0)


def advantage_change(objective: Objective, rollouts: StepRollouts, reward_PG: Tensor) -> float:
    arguments = rollouts.truncated_PG, rollouts.length_PG
    return relative(
        objective.advantages(reward_PG, *arguments)[0], objective.advantages(rollouts.reward_PG, *arguments)[0]
    )


def gradient_vanishes_without_advantage(objective: Objective, rollouts: StepRollouts) -> float:
    batch, _ = step_batch(objective, rollouts)
    batch = replace(batch, advantage_B=torch.zeros_like(batch.advantage_B))
    return loss_and_gradient(objective, rollouts.logp_BT, batch)[1].abs().max().item()


def rows_out_of_the_loss_do_not_matter(objective: Objective, rollouts: StepRollouts) -> float:
    """Their gradient is 0, and so is the effect of their log-probabilities on the loss and on other rows."""
    batch, in_loss_PG = step_batch(objective, rollouts)
    out_B1 = ~in_loss_PG.flatten()[:, None]
    loss, gradient_BT = loss_and_gradient(objective, rollouts.logp_BT, batch)
    other_BT = torch.where(out_B1, rollouts.logp_BT - 30.0, rollouts.logp_BT)
    other_loss, other_gradient_BT = loss_and_gradient(objective, other_BT, batch)
    inside = (gradient_BT * out_B1).abs().max().item()
    return max(inside, (other_loss - loss).abs().item(), (other_gradient_BT - gradient_BT).abs().max().item())


def autograd_is_the_closed_form(objective: Objective, rollouts: StepRollouts) -> float:
    batch, _ = step_batch(objective, rollouts)
    _, gradient_BT = loss_and_gradient(objective, rollouts.logp_BT, batch)
    return relative(gradient_BT, closed_form.closed_form_gradient(objective, rollouts.logp_BT, batch))


def central_differences(objective: Objective, rollouts: StepRollouts) -> float:
    """Every token of at most 40, stepped up and down; tokens within reach of a kink of the clip are left out."""
    step_nats = 1e-6
    batch, _ = step_batch(objective, rollouts)
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


def near_kink(objective: Objective, logp_BT: Tensor, batch: TrainBatch, within: float) -> Tensor:
    near_BT = torch.zeros_like(batch.mask_BT)
    log_x_BT = objective.log_ratio(logp_BT, batch)
    for bound in clip_bounds(objective):
        near_BT |= (log_x_BT - math.log(bound)).abs() < within
    return near_BT


def clip_bounds(objective: Objective) -> list[float]:
    bounds = [1 - objective.knobs.get("clip_low", 1.0), 1 + objective.knobs.get("clip_high", math.inf)]
    return [bound for bound in bounds if 0 < bound < math.inf]


def saturation(objective: Objective, rollouts: StepRollouts) -> float:
    """Outside the clip: gradient exactly 0 on the pessimistic side for both signs of A, and not 0 on the other side."""
    batch, _ = step_batch(
        replace(objective, correction=None, kl=None, overlong="off", dynamic_sampling=False), rollouts
    )
    low, high = 1 - objective.knobs.get("clip_low", 1.0), 1 + objective.knobs.get("clip_high", math.inf)
    deviation = 0.0
    for bound, away in ((low, -0.1), (high, 0.1)):
        if not 0 < bound < math.inf:
            continue
        logp_BT = rollouts.old_logp_BT + (math.log(bound) + away) * rollouts.mask_BT
        for sign in (-1.0, 1.0):
            signed = replace(batch, advantage_B=torch.full_like(batch.advantage_B, sign))
            gradient_BT = loss_and_gradient(replace(objective, kl=None), logp_BT, signed)[1]
            size = gradient_BT[rollouts.mask_BT].abs()
            is_pessimistic = sign * away > 0
            deviation = max(deviation, size.max().item() if is_pessimistic else float(size.min().item() == 0.0))
    return deviation


def on_policy_token_and_sequence_ratio_agree(objective: Objective, rollouts: StepRollouts) -> float:
    """With logp = old_logp it does not matter which ratio the slot holds."""
    on_policy = replace(rollouts, logp_BT=rollouts.old_logp_BT)
    gradients = []
    for ratio in (parts.token, parts.sequence, parts.sequence_value_token_gradient):
        swapped = replace(objective, slots=replace(objective.slots, ratio=partial(ratio)))
        batch, _ = step_batch(swapped, on_policy)
        gradients.append(loss_and_gradient(swapped, on_policy.logp_BT, batch)[1])
    return max(relative(gradient, gradients[0]) for gradient in gradients[1:])


def stable_in_float32(objective: Objective, rollouts: StepRollouts) -> float:
    """Log-ratios of +-30 nats: finite, and the float32 gradient is the float64 one to 1e-3 of its largest entry."""
    direction_BT = torch.where(rollouts.logp_BT > rollouts.old_logp_BT, 30.0, -30.0)
    extreme_BT = rollouts.old_logp_BT + direction_BT * rollouts.mask_BT
    batch, _ = step_batch(objective, rollouts)
    return float32_deviation(objective, extreme_BT, batch)


def stable_over_80000_tokens(objective: Objective, rollouts: StepRollouts) -> float:
    """Two rows of the first group, their tokens repeated to 80,000 and log-ratios as they are."""
    repeats = -(-80_000 // rollouts.mask_BT.shape[1])
    long = {
        name: getattr(rollouts, name)[:2].repeat(1, repeats)
        for name in ("mask_BT", "logp_BT", "old_logp_BT", "rollout_logp_BT", "ref_logp_BT")
    }
    per_group = {name: getattr(rollouts, name)[:1, :2] for name in ("reward_PG", "truncated_PG")}
    length_PG = long["mask_BT"].sum(dim=1)[None]
    batch, _ = step_batch(objective, StepRollouts(**per_group, **long, length_PG=length_PG))
    return float32_deviation(objective, long["logp_BT"], batch)


def float32_deviation(objective: Objective, logp_BT: Tensor, batch: TrainBatch) -> float:
    """Of the float32 gradient from the float64 one, relative to its largest entry; infinite if anything overflows."""
    exact_BT = loss_and_gradient(objective, logp_BT, batch)[1]
    single = replace(
        batch, **{name: value.float() for name, value in vars(batch).items() if value.dtype == torch.float64}
    )
    loss, gradient_BT = loss_and_gradient(objective, logp_BT.float(), single)
    metrics = objective.metrics(logp_BT.float(), single)
    if not (loss.isfinite() and gradient_BT.isfinite().all() and all(map(math.isfinite, metrics.values()))):
        return math.inf
    return (gradient_BT.double() - exact_BT).abs().max().item() / max(exact_BT.abs().max().item(), 1e-30)


LAWS: dict[str, Law] = {
    "weights_sum_to_one": Law(weights_sum_to_one, ROUNDING, "the weights of a step sum to 1"),
    "micro_batches_add_up": Law(micro_batches_add_up, ROUNDING, "micro-batches add up to the step's gradient"),
    "padding_changes_nothing": Law(padding_changes_nothing, ROUNDING, "prompts and padding leave the gradient alone"),
    "row_order_changes_nothing": Law(row_order_changes_nothing, ROUNDING, "the order of rows does not matter"),
    "group_order_changes_nothing": Law(group_order_changes_nothing, ROUNDING, "the order of groups does not matter"),
    "advantage_ignores_reward_shift": Law(
        advantage_ignores_reward_shift, ROUNDING, "a constant added to a group's rewards changes no advantage"
    ),
    # eps beside a std of at least 0.5 moves an advantage by eps / std
    "advantage_ignores_reward_scale": Law(
        advantage_ignores_reward_scale, 1e-5, "a positive factor on a group's rewards changes no advantage"
    ),
    "gradient_vanishes_without_advantage": Law(
        gradient_vanishes_without_advantage, EXACT, "a rollout with advantage 0 leaves no gradient"
    ),
    "rows_out_of_the_loss_do_not_matter": Law(
        rows_out_of_the_loss_do_not_matter, EXACT, "a masked or dropped rollout leaves no gradient and no trace"
    ),
    "autograd_is_the_closed_form": Law(autograd_is_the_closed_form, ROUNDING, "autograd equals the closed form"),
    "central_differences": Law(central_differences, 1e-6, "autograd equals central differences"),
    "saturation": Law(saturation, EXACT, "beyond the clip the pessimistic side has gradient 0, the other side has not"),
    "on_policy_token_and_sequence_ratio_agree": Law(
        on_policy_token_and_sequence_ratio_agree, ROUNDING, "on policy, token and sequence ratio give one gradient"
    ),
    "stable_in_float32": Law(stable_in_float32, 1e-3, "finite and stable in float32 at log-ratios of +-30"),
    "stable_over_80000_tokens": Law(stable_over_80000_tokens, 1e-3, "finite and stable in float32 over 80,000 tokens"),
}


def not_applicable(objective: Objective, name: str) -> str | None:
    """Why a law has nothing to say about this objective, if so."""
    if name == "autograd_is_the_closed_form" and not closed_form.is_known(objective):
        return "a part has no closed form in objectives/closed_form.py; central differences stand in"
    if name == "saturation" and not clip_bounds(objective):
        return "there is no clip range"
    return None


def examine(objective: Objective, num_batches: int) -> list[Finding]:
    """Run every law on random batches of many shapes and say what holds."""
    findings = []
    for name, law in LAWS.items():
        if (reason := not_applicable(objective, name)) is not None:
            findings.append(Finding(name, "not applicable", reason))
        elif name in objective.waived_laws:
            findings.append(Finding(name, "waived", objective.waived_laws[name]))
        else:
            worst = max(law.deviation(objective, random_rollouts(shape)) for shape in shapes(num_batches))
            status = "holds" if worst <= law.tolerance else "broken"
            findings.append(Finding(name, status, f"{law.says} (worst {worst:.1e}, allowed {law.tolerance:.0e})"))
    return findings


def shapes(num_batches: int) -> list[Shape]:
    """A spread of sizes and of distances from the old policy: on it, within GSPO's clip, within GRPO's, beyond both."""
    scales = (0.0, 2e-4, 0.1, 1.0)
    return [
        Shape(seed, num_groups=1 + seed % 4, group_size=2 + seed % 5, max_length=1 + seed % 9, log_ratio_scale=scale)
        for seed, scale in ((seed, scales[seed % len(scales)]) for seed in range(num_batches))
    ]
