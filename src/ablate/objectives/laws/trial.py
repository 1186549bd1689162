"""What a run checks of its objective before anything slow starts: milliseconds on a few random rollouts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from ablate.errors import UserError
from ablate.objectives.base import Objective
from ablate.objectives.laws.invariance_laws import gradient_vanishes_without_advantage
from ablate.objectives.laws.step import with_every_row
from ablate.objectives.laws.synthetic import Shape, random_rollouts
from ablate.objectives.registry import build, outside_parts

NO_GRADIENT = gradient_vanishes_without_advantage.__name__
SHAPES = [Shape(seed, 2, 4, max_length=6, log_ratio_scale=scale) for seed, scale in ((1, 0.1), (3, 1.0))]


def check_objective(config: Mapping[str, Any], group_size: int) -> None:
    """Refuse an objective that a run's groups or its user's own parts would break later.

    Raises:
        UserError: naming the key to change.
    """
    check_outside_parts(config)
    passes = torch.arange(group_size) == 0
    lengths = torch.arange(1, group_size + 1)
    build(config).advantages(torch.where(passes, 1.0, -1.0)[None], ~passes[None], lengths[None])


def check_outside_parts(config: Mapping[str, Any]) -> None:
    """Try a user's own parts, and check the one law that training relies on: rows with advantage 0 leave an update.

    Raises:
        UserError: for a part that cannot be evaluated, or that pulls on rows with advantage 0 without saying so.
    """
    outside = outside_parts(config)
    if not outside:
        return
    objective = build(config)
    where = ", ".join(f"objective.{slot}={name}" for slot, name in outside.items())
    try:
        pulls = pulls_without_advantage(objective)
    except UserError:
        raise
    except Exception as error:  # the part is the user's program, and may raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{where} cannot be evaluated on random rollouts ({reason}): correct the function") from error
    if pulls and NO_GRADIENT not in objective.waived_laws:
        raise UserError(
            f"{where} pulls on rollouts whose advantage is 0, and training leaves them out of an update: put "
            f'@waives({NO_GRADIENT}="the reason") of ablate.objectives.parts above the function to keep them, '
            "or multiply its pull by the advantage"
        )


def pulls_without_advantage(objective: Objective) -> bool:
    """Does any response token have a gradient, or a nan, where every advantage is 0?"""
    whole = with_every_row(objective)
    shapes = [replace(shape, group_size=max(shape.group_size, objective.min_group_size)) for shape in SHAPES]
    sizes = [gradient_vanishes_without_advantage(whole, random_rollouts(shape)) for shape in shapes]
    return not all(size == 0.0 for size in sizes)
