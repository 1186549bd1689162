"""Dr. GRPO (arXiv 2503.20783): GRPO without the division by the group's std and by each response's length."""

from dataclasses import replace

from ablate.objectives import parts
from ablate.objectives.base import Preset
from ablate.objectives.presets.grpo import grpo


def dr_grpo() -> Preset:
    return replace(grpo(), advantage=parts.group_centred, weight=parts.constant_length)
