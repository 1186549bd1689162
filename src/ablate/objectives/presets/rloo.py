"""RLOO (arXiv 2402.14740): REINFORCE on whole responses with the other samples' mean reward as the baseline.

There is no ratio: it is exact with one optimizer step per rollout batch only. For more, `swap.surrogate=clipped` and
`swap.ratio=token` (with clip_low and clip_high) keep its advantage and its weights.
"""

from dataclasses import replace

from ablate.objectives import parts
from ablate.objectives.base import Preset
from ablate.objectives.presets.grpo import grpo


def rloo() -> Preset:
    return replace(
        grpo(),
        advantage=parts.leave_one_out,
        ratio=parts.unit,
        surrogate=parts.log_likelihood,
        weight=parts.constant_length,
    )
