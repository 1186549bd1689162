"""The named functions that fill an objective's slots, and the table that names them.

A part names the arguments that it needs, out of those that its slot offers (``objectives.base.OFFERED``). A
keyword-only parameter is a knob: the registry binds it from the YAML. ``@waives(law="reason")`` says which law of
``ablate.objectives.laws`` a part does not keep, and why; ``@declares(fact=value)`` states facts about a part.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

from ablate.objectives.parts import advantage, ratio, rewards, select, surrogate, terms, weight
from ablate.objectives.parts.declare import LOG_RATIO_LIMIT, declares, waives

__all__ = ["LOG_RATIO_LIMIT", "PARTS", "declares", "waives"]


def named(module: ModuleType, names: str) -> dict[str, Callable]:
    return {name: getattr(module, name) for name in names.split()}


PARTS: dict[str, dict[str, Callable]] = {
    "keep": {"all": rewards.all_groups, "mixed_outcomes": rewards.mixed_outcomes},
    "shape": named(rewards, "verdict one_or_zero soft_overlong_penalty"),
    "overlong": named(rewards, "train zero_advantage mask"),
    "advantage": named(
        advantage,
        "group_normalised group_normalised_population group_centred leave_one_out one mean_normalised "
        "group_mean_batch_std group_mean_advantage_std batch_normalised group_mean_batch_normalised "
        "length_weighted_baseline reward pass_at_k best_of_group shortest_of_group most_efficient_of_group",
    ),
    "ratio": named(ratio, "token sequence sequence_value_token_gradient product unit"),
    "surrogate": named(
        surrogate,
        "clipped clipped_weight log_likelihood unclipped dual_clipped total_variation_masked binary_kl_masked "
        "soft_gate gamma_weight tapered flipped geometric_mean quadratic sequence_quadratic",
    ),
    "select": {"all": select.all_tokens}
    | named(select, "mixed_groups off_policy_rows top_entropy_tokens second_moment_tokens covariance_tokens"),
    "weight": named(weight, "sequence_mean token_mean constant_length prompt_mean"),
    "kl": {"k1": terms.kl_k1, "k2": terms.kl_k2, "k3": terms.kl_k3},
    "correction": named(terms, "truncated_token truncated_sequence masked_token masked_sequence masked_sequence_mean"),
}
