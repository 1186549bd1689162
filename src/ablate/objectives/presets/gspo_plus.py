"""GSPO+ (NousCoder-14B): GSPO's ratio and clip, gradients rescaled so that all tokens weigh the same."""

from dataclasses import replace

from ablate.objectives import parts
from ablate.objectives.base import Preset
from ablate.objectives.presets.gspo import gspo


def gspo_plus() -> Preset:
    return replace(gspo(), weight=parts.token_mean)
