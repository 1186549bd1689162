"""GRPO+ (DeepCoder, together.ai/blog/deepcoder): GRPO's slots; what differs are numbers and toggles.

Clip-higher, truncated rollouts masked, no KL and no entropy term. The post does not say how it averages over tokens;
GRPO's mean per sequence is kept here (the verl fork behind it averaged over the tokens of a micro-batch).
"""

from ablate.objectives.base import Preset
from ablate.objectives.presets.grpo import grpo


def grpo_plus() -> Preset:
    return grpo()
