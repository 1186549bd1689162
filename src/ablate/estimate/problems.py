"""How many problems an experiment evaluates, and how many it trains on."""

from __future__ import annotations

from ablate.config import RunConfig
from ablate.data.problems import load_problems
from ablate.errors import UserError
from ablate.estimate.device import AssumptionsConfig


def num_eval_problems(config: RunConfig, assumptions: AssumptionsConfig) -> int:
    """``eval.expected_problems``, else the problems of ``data.eval`` where it is there, else the assumption."""
    if config.eval.expected_problems is not None:
        return config.eval.expected_problems
    return num_problems(config.data.eval, assumptions.eval_problems)


def num_train_problems(config: RunConfig, assumptions: AssumptionsConfig) -> int:
    """The problems of ``data.train`` where it is there, else the assumption; ``data.pass_counts`` is not looked at."""
    return num_problems(config.data.train, assumptions.train_problems)


def num_problems(path: str, otherwise: int) -> int:
    try:
        return len(load_problems(path))
    except (UserError, FileNotFoundError):  # not fetched yet, which an estimate does not need
        return otherwise
