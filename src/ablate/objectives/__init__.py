"""Objectives: pure torch, built from small named parts. ``build(config)`` is the way in."""

from ablate.objectives.base import Objective, Preset
from ablate.objectives.registry import build, preset_names

__all__ = ["Objective", "Preset", "build", "preset_names"]
