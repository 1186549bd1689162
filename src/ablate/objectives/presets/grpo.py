"""GRPO (DeepSeekMath, arXiv 2402.03300, equation 3), without its KL term: see the `kl` key."""

from ablate.objectives import parts
from ablate.objectives.base import Preset


def grpo() -> Preset:
    return Preset(
        keep=parts.mixed_outcomes,
        shape=parts.verdict,
        advantage=parts.group_normalised,
        ratio=parts.token,
        surrogate=parts.clipped,
        weight=parts.sequence_mean,
    )
