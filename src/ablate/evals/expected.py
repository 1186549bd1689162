"""The number of problems that an evaluation set must have."""

from __future__ import annotations

from ablate.config import RunConfig
from ablate.errors import UserError


def check_count(config: RunConfig, num_problems: int) -> None:
    """Raise ``UserError`` unless the evaluation set has the number of problems that its benchmark has."""
    expected = config.eval.expected_problems
    if expected is not None and num_problems != expected:
        raise UserError(
            f"{config.data.eval} holds {num_problems} problems whose prompts fit data.max_prompt_tokens="
            f"{config.data.max_prompt_tokens}, and eval.expected_problems={expected}: use the data set that belongs to "
            f"this evaluation, or set eval.expected_problems={num_problems}"
        )
