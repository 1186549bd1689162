"""Laws that every objective keeps, whatever its parts, or whose breach one of its parts declares with a reason.

A law is a function ``(objective, rollouts) -> deviation``; it holds where the deviation is at most its tolerance. The
laws know no preset by name, so a new objective is tested without a test being written:

    python -m ablate.replay laws=my_objective
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ablate.objectives import closed_form, gradient_laws, invariance_laws
from ablate.objectives.base import Objective
from ablate.objectives.step import StepRollouts
from ablate.objectives.synthetic import Shape, random_rollouts

EXACT = 0.0
ROUNDING = 1e-9  # relative, float64


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


LAWS: dict[str, Law] = {
    "weights_sum_to_one": Law(invariance_laws.weights_sum_to_one, ROUNDING, "the weights of a step sum to 1"),
    "micro_batches_add_up": Law(
        invariance_laws.micro_batches_add_up, ROUNDING, "micro-batches add up to the step's gradient"
    ),
    "padding_changes_nothing": Law(
        invariance_laws.padding_changes_nothing, ROUNDING, "prompts and padding leave the gradient alone"
    ),
    "row_order_changes_nothing": Law(
        invariance_laws.row_order_changes_nothing, ROUNDING, "the order of rows does not matter"
    ),
    "group_order_changes_nothing": Law(
        invariance_laws.group_order_changes_nothing, ROUNDING, "the order of groups does not matter"
    ),
    "advantage_ignores_reward_shift": Law(
        invariance_laws.advantage_ignores_reward_shift,
        ROUNDING,
        "a constant added to a group's rewards changes no advantage",
    ),
    # eps beside a std of at least 0.5 moves an advantage by eps / std
    "advantage_ignores_reward_scale": Law(
        invariance_laws.advantage_ignores_reward_scale,
        1e-5,
        "a positive factor on a group's rewards changes no advantage",
    ),
    "gradient_vanishes_without_advantage": Law(
        invariance_laws.gradient_vanishes_without_advantage, EXACT, "a rollout with advantage 0 leaves no gradient"
    ),
    "rows_out_of_the_loss_do_not_matter": Law(
        invariance_laws.rows_out_of_the_loss_do_not_matter,
        EXACT,
        "a masked or dropped rollout leaves no gradient and no trace",
    ),
    "autograd_is_the_closed_form": Law(
        gradient_laws.autograd_is_the_closed_form, ROUNDING, "autograd equals the closed form"
    ),
    "central_differences": Law(gradient_laws.central_differences, 1e-6, "autograd equals central differences"),
    "saturation": Law(
        gradient_laws.saturation, EXACT, "beyond the clip the pessimistic side has gradient 0, the other side has not"
    ),
    "on_policy_token_and_sequence_ratio_agree": Law(
        gradient_laws.on_policy_token_and_sequence_ratio_agree,
        ROUNDING,
        "on policy, token and sequence ratio give one gradient",
    ),
    "stable_in_float32": Law(
        gradient_laws.stable_in_float32, 1e-3, "finite and stable in float32 at log-ratios of +-30"
    ),
    "stable_over_80000_tokens": Law(
        gradient_laws.stable_over_80000_tokens, 1e-3, "finite and stable in float32 over 80,000 tokens"
    ),
}


def not_applicable(objective: Objective, name: str) -> str | None:
    """Why a law has nothing to say about this objective, if so."""
    if name == "autograd_is_the_closed_form" and not closed_form.is_known(objective):
        return "a part has no closed form in objectives/closed_form.py; central differences stand in"
    if name == "saturation" and not gradient_laws.clip_bounds(objective):
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
