"""DAPO (arXiv 2503.14476, equation 8): GRPO with every token of the step weighing the same.

Clip-higher, dynamic sampling and overlong handling are numbers and toggles of conf/objective/dapo.yaml.
"""

from dataclasses import replace

from ablate.objectives import parts
from ablate.objectives.base import Preset
from ablate.objectives.presets.grpo import grpo


def dapo() -> Preset:
    return replace(grpo(), weight=parts.token_mean)
