"""Noisy solutions of the tiny problems: what a weak programmer writes, thinking aloud first.

A demonstration takes each part of its problem for the part it is easily mistaken for with some probability, and thinks
for a number of words that is geometrically distributed. A model warm-started on them makes the same mistakes at the
same rates, which leaves reinforcement learning something to remove.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ablate.data.tiny import LAYOUT, OPERATION, TRANSFORMATION, Combination
from ablate.data.tokenizer import CLOSE_FENCE, EOS, OPEN_FENCE
from ablate.seeding import derive_seed

# No two begin with the same letter and each ends in its space, so that every thought is one choice among equals, the
# end of thinking among them, at one token: else a sampling temperature below 1 would make the model think for ever.
THOUGHTS = ("hm ", "ok ", "so ", "wait ", "let me see ", "now ", "right ")


@dataclass
class NoiseConfig:
    """Probabilities, each for one part of one demonstration."""

    wrong_operation: float
    wrong_hard_operation: float
    wrong_transformation: float
    wrong_hard_transformation: float
    wrong_layout: float
    another_thought: float  # after each thought; the number of thoughts is geometric with mean p / (1 - p)


@dataclass(frozen=True)
class Demonstration:
    combination: Combination
    response: str  # thoughts, the fenced program, the end-of-sequence token


def mistaken(combination: Combination, noise: NoiseConfig, rng: random.Random) -> Combination:
    """Return the problem as a weak programmer understands it: often the same."""
    operation, transformation, layout = combination.operation, combination.transformation, combination.layout
    # One draw per part whatever comes out, so that a changed probability changes only its own part.
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
    return Demonstration(combination, f"{thoughts(noise, rng)}{OPEN_FENCE}{program}{CLOSE_FENCE}{EOS}")


def demonstration_batches(
    combinations: Sequence[Combination], noise: NoiseConfig, batch_size: int, num_batches: int, seed: int
) -> Iterator[list[Demonstration]]:
    """Yield batches of fresh demonstrations, the problems drawn with replacement; batch k depends on (seed, k) only."""
    for step in range(num_batches):
        rng = random.Random(derive_seed(seed, "demonstrations", step))
        yield [demonstrate(each, noise, rng) for each in rng.choices(combinations, k=batch_size)]
