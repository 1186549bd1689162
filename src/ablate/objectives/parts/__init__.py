"""The named functions that fill an objective's slots, and the table that names them.

A part names the arguments that it needs, out of those that its slot offers (``objectives.base.OFFERED``). A
keyword-only parameter is a knob: the registry binds it from the YAML. ``@waives(law="reason")`` says which law of
``ablate.objectives.laws`` a part does not keep, and why; ``@declares(fact=value)`` states facts about a part.
"""

from __future__ import annotations

from collections.abc import Callable

from ablate.objectives.parts.advantage import (
    batch_normalised,
    best_of_group,
    group_centred,
    group_mean_advantage_std,
    group_mean_batch_normalised,
    group_mean_batch_std,
    group_normalised,
    group_normalised_population,
    leave_one_out,
    length_weighted_baseline,
    mean_normalised,
    most_efficient_of_group,
    one,
    pass_at_k,
    reward,
    shortest_of_group,
)
from ablate.objectives.parts.declare import LOG_RATIO_LIMIT, declares, waives
from ablate.objectives.parts.ratio import product, sequence, sequence_value_token_gradient, token, unit
from ablate.objectives.parts.rewards import (
    all_groups,
    mask,
    mixed_outcomes,
    one_or_zero,
    soft_overlong_penalty,
    train,
    verdict,
    zero_advantage,
)
from ablate.objectives.parts.select import (
    all_tokens,
    covariance_tokens,
    mixed_groups,
    off_policy_rows,
    second_moment_tokens,
    top_entropy_tokens,
)
from ablate.objectives.parts.surrogate import (
    binary_kl_masked,
    clipped,
    clipped_weight,
    dual_clipped,
    flipped,
    gamma_weight,
    geometric_mean,
    log_likelihood,
    quadratic,
    sequence_quadratic,
    soft_gate,
    tapered,
    total_variation_masked,
    unclipped,
)
from ablate.objectives.parts.terms import (
    kl_k1,
    kl_k2,
    kl_k3,
    masked_sequence,
    masked_sequence_mean,
    masked_token,
    truncated_sequence,
    truncated_token,
)
from ablate.objectives.parts.weight import constant_length, prompt_mean, sequence_mean, token_mean

__all__ = ["LOG_RATIO_LIMIT", "PARTS", "declares", "waives"]


def named(*parts: Callable) -> dict[str, Callable]:
    return {part.__name__: part for part in parts}


PARTS: dict[str, dict[str, Callable]] = {
    "keep": {"all": all_groups, "mixed_outcomes": mixed_outcomes},
    "shape": named(verdict, one_or_zero, soft_overlong_penalty),
    "overlong": named(train, zero_advantage, mask),
    "advantage": named(
        group_normalised,
        group_normalised_population,
        group_centred,
        leave_one_out,
        one,
        mean_normalised,
        group_mean_batch_std,
        group_mean_advantage_std,
        batch_normalised,
        group_mean_batch_normalised,
        length_weighted_baseline,
        reward,
        pass_at_k,
        best_of_group,
        shortest_of_group,
        most_efficient_of_group,
    ),
    "ratio": named(token, sequence, sequence_value_token_gradient, product, unit),
    "surrogate": named(
        clipped,
        clipped_weight,
        log_likelihood,
        unclipped,
        dual_clipped,
        total_variation_masked,
        binary_kl_masked,
        soft_gate,
        gamma_weight,
        tapered,
        flipped,
        geometric_mean,
        quadratic,
        sequence_quadratic,
    ),
    "select": {"all": all_tokens}
    | named(mixed_groups, off_policy_rows, top_entropy_tokens, second_moment_tokens, covariance_tokens),
    "weight": named(sequence_mean, token_mean, constant_length, prompt_mean),
    "kl": {"k1": kl_k1, "k2": kl_k2, "k3": kl_k3},
    "correction": named(truncated_token, truncated_sequence, masked_token, masked_sequence, masked_sequence_mean),
}
