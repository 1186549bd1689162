"""CISPO (MiniMax-M1, arXiv 2506.13585): the importance weight is clipped, and no token loses its gradient."""

from dataclasses import replace

from ablate.objectives import parts
from ablate.objectives.base import Preset
from ablate.objectives.presets.dapo import dapo


def cispo() -> Preset:
    return replace(dapo(), surrogate=parts.clipped_weight)
