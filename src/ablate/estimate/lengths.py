"""How long responses are: a lognormal that the context cuts, or the lengths of a recorded run."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from ablate.errors import UserError
from ablate.estimate.collect import Lengths
from ablate.estimate.device import LengthsConfig
from ablate.files.parquet import iterate_parquet
from ablate.records import RunDirectory


def lognormal(config: LengthsConfig, context: int, rng: random.Random) -> Lengths:
    """Lengths of a lognormal; a response ends at the context if it has not ended before."""

    def draw() -> tuple[int, int]:
        response = round(math.exp(rng.gauss(math.log(config.median), config.sigma)))
        return config.prompt, max(1, min(response, context - config.prompt))

    return draw


def resampled(pairs: Sequence[tuple[int, int]], context: int, rng: random.Random) -> Lengths:
    """Lengths drawn with replacement from recorded ones, cut at ``context``."""

    def draw() -> tuple[int, int]:
        prompt, response = rng.choice(pairs)
        return prompt, max(1, min(response, context - prompt))

    return draw


def programs(mean_s: float, sigma: float, rng: random.Random) -> Callable[[], float]:
    """Seconds of programs in a sandbox: a lognormal with this mean."""
    mu = math.log(mean_s) - sigma**2 / 2
    return lambda: math.exp(rng.gauss(mu, sigma))


def recorded_lengths(run: Path) -> list[tuple[int, int]]:
    """Tokens of prompt and response of every rollout that a run has saved; it saves those that it trained on.

    Raises:
        UserError: if the run has saved none.
    """
    files = sorted(RunDirectory(run).steps.rollouts_path.glob("step_*.parquet"))
    if not files:
        raise UserError(f"{run} has no saved rollouts: name a run directory that was made with logging.save_rollouts")
    columns = ("prompt_ids", "response_ids")
    return [
        (len(row["prompt_ids"]), len(row["response_ids"]))
        for path in files
        for row in iterate_parquet(path, columns, 64)
    ]
