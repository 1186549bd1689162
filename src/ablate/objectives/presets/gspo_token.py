"""GSPO-token (arXiv 2507.18071, section 4.3): GSPO's value with a gradient per token, for advantages per token.

With one advantage per sequence, which is all that this project has, its gradient is GSPO's.
"""

from dataclasses import replace

from ablate.objectives import parts
from ablate.objectives.base import Preset
from ablate.objectives.presets.gspo import gspo


def gspo_token() -> Preset:
    return replace(gspo(), ratio=parts.sequence_value_token_gradient)
