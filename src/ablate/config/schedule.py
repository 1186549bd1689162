"""Rules of a step that need its configuration and a few counts alone. The loop and the estimate share them."""

from __future__ import annotations

import math

from ablate.config.schema import CheckpointConfig, EvalConfig

# Draws of this step that weigh as much as the guess, which comes from all draws of the last step. A draw cannot be
# taken back, so the largest number that the first few verdicts suggest counts. With 4, simulated batches of 64 groups,
# half of which are kept, began 196 draws for the 126 that they needed; with 16 they began 164 and took as long.
NUM_GUESSED = 16


def is_due(every: int, step: int) -> bool:
    return every > 0 and step % every == 0


def saves_checkpoint(config: CheckpointConfig, step: int) -> bool:
    return is_due(config.every, step) or step in config.keep_steps


def due_contexts(config: EvalConfig, step: int, is_last: bool) -> list[int]:
    """Lengths of the contexts to evaluate after ``step``; ``is_last``: it is the last step of its stage."""
    at_end = is_last and config.at_end
    return [context.length for context in config.contexts if at_end or is_due(context.every, step)]


def num_to_draw(missing: int, num_kept: int, num_decided: int, share_kept: float) -> int:
    """How many draws without a verdict there should be while ``missing`` groups are to be found.

    Draws up to the r-th kept one, if each is kept with probability p, have mean r / p and variance r (1 - p) / p^2
    (negative binomial distribution): the mean plus one standard deviation.

    Args:
        num_kept: of the ``num_decided`` draws of this step.
        share_kept: the guess of p before any of them was decided, above 0; weighs as much as ``NUM_GUESSED`` draws.
    """
    if missing <= 0:
        return 0
    share = (num_kept + NUM_GUESSED * share_kept) / (num_decided + NUM_GUESSED)
    return math.ceil((missing + math.sqrt(missing * (1 - share))) / share)
