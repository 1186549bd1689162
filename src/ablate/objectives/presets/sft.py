"""Supervised fine-tuning as an objective: the mean log-likelihood of all response tokens of the step."""

from dataclasses import replace

from ablate.objectives import parts
from ablate.objectives.base import Preset
from ablate.objectives.presets.grpo import grpo


def sft() -> Preset:
    return replace(
        grpo(), advantage=parts.one, ratio=parts.unit, surrogate=parts.log_likelihood, weight=parts.token_mean
    )
