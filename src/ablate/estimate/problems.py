"""How many problems an experiment evaluates."""

from __future__ import annotations

from ablate.config import RunConfig
from ablate.data.problems import load_problems
from ablate.errors import UserError
from ablate.estimate.device import AssumptionsConfig


def num_eval_problems(config: RunConfig, assumptions: AssumptionsConfig) -> int:
    """``eval.expected_problems``, else the problems of ``data.eval`` where it is there, else the assumption."""
    if config.eval.expected_problems is not None:
        return config.eval.expected_problems
    try:
        return len(load_problems(config.data.eval))
    except (UserError, FileNotFoundError):  # not fetched yet, which an estimate does not need
        return assumptions.eval_problems
