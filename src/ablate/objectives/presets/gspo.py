"""GSPO (arXiv 2507.18071, equation 5): GRPO with one ratio per sequence."""

from dataclasses import replace

from ablate.objectives import parts
from ablate.objectives.base import Preset
from ablate.objectives.presets.grpo import grpo


def gspo() -> Preset:
    return replace(grpo(), ratio=parts.sequence)
