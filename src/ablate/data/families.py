"""The problem families that a small model can be warm-started on; ``model.build.family`` names a row of the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ablate.data import cups, demonstrations, tiny
from ablate.data.demonstration import Demonstration
from ablate.types import Problem


@dataclass(frozen=True)
class Family:
    """What a warm start needs to know of a family of problems.

    ``demonstration_batches(noise, batch_size, num_batches, seed)`` yields batches of demonstrations of ``taught``
    problems; ``noise`` is of ``noise_type``, the type of ``model.build.lessons.noise``.
    """

    taught: Callable[[], list[Problem]]
    demonstration_batches: Callable[[Any, int, int, int], Iterator[list[Demonstration]]]
    noise_type: type
    sources: tuple[str, ...]  # files below src/ablate; a change in one of them makes a different model


FAMILIES = {
    "arithmetic": Family(
        tiny.taught,
        demonstrations.demonstration_batches,
        demonstrations.NoiseConfig,
        ("data/tiny.py", "data/demonstrations.py"),
    ),
    "cups": Family(cups.taught, cups.demonstration_batches, cups.CupsNoise, ("data/cups.py",)),
}
