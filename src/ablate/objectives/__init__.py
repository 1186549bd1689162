"""Objectives: pure torch, built from small named parts. ``build(config)`` is the way in."""

from ablate.objectives.base import SLOTS, Objective, Slots
from ablate.objectives.registry import build, canonical, outside_files, outside_parts

__all__ = [
    "SLOTS",
    "Objective",
    "Slots",
    "build",
    "canonical",
    "outside_files",
    "outside_parts",
]
