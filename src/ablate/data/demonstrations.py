"""Noisy solutions of the tiny problems: what a weak programmer would write after thinking aloud.

With some probability, a demonstration mistakes a part of its problem for a similar part. Its thinking has a number of
words that is geometrically distributed. A model that is warm-started on demonstrations makes the same mistakes at the
same rates, which leaves reinforcement learning something to remove.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from ablate.data.demonstration import Demonstration
from ablate.data.tiny import LAYOUT, OPERATION, TRANSFORMATION, Combination, split
from ablate.data.tokenizer import CLOSE_FENCE, EOS, OPEN_FENCE
from ablate.seeding import derive_seed

# No two thoughts begin with the same letter, and each ends in its own space. So the model chooses between the thoughts
# and the end of thinking at one token. Otherwise a sampling temperature below 1 would make the model think forever.
THOUGHTS = ("hm ", "ok ", "so ", "wait ", "let me see ", "now ", "right ")


@dataclass
class NoiseConfig:
    """Probabilities of the mistakes and thoughts in a demonstration, each drawn independently."""

    wrong_operation: float
    wrong_hard_operation: float
    wrong_transformation: float
    wrong_hard_transformation: float
    wrong_layout: float
    another_thought: float  # after each thought; the number of thoughts is geometric with mean p / (1 - p)


def mistaken(combination: Combination, noise: NoiseConfig, rng: random.Random) -> Combination:
    """Return the problem as a weak programmer understands it, which is often correct."""
    operation, transformation, layout = combination.operation, combination.transformation, combination.layout
    # Each part always takes one draw, so that a changed probability changes only its own part.
    draws = [rng.random() for _ in range(3)]
    if draws[0] < (noise.wrong_hard_operation if operation.hard else noise.wrong_operation):
        operation = OPERATION[operation.mistaken_for]
    wrong_transformation = noise.wrong_hard_transformation if transformation.hard else noise.wrong_transformation
    if draws[1] < wrong_transformation and transformation.mistaken_for is not None:
        transformation = TRANSFORMATION[transformation.mistaken_for]
    if draws[2] < noise.wrong_layout:
        layout = LAYOUT[layout.mistaken_for]
    return Combination(operation, transformation, layout)


def thoughts(noise: NoiseConfig, rng: random.Random) -> str:
    words = []
    while rng.random() < noise.another_thought:
        words.append(rng.choice(THOUGHTS))
    return "".join(words)


def demonstrate(combination: Combination, noise: NoiseConfig, rng: random.Random) -> Demonstration:
    program = mistaken(combination, noise, rng).program
    return Demonstration(combination.id, f"{thoughts(noise, rng)}{OPEN_FENCE}{program}{CLOSE_FENCE}{EOS}")


def demonstration_batches(
    noise: NoiseConfig, batch_size: int, num_batches: int, seed: int
) -> Iterator[list[Demonstration]]:
    """Yield batches of new demonstrations of problems drawn with replacement; batch k depends only on (seed, k)."""
    train, _, rest = split()
    combinations = [*train, *rest]
    for step in range(num_batches):
        rng = random.Random(derive_seed(seed, "demonstrations", step))
        yield [demonstrate(each, noise, rng) for each in rng.choices(combinations, k=batch_size)]
