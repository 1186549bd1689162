"""The batches: lengths from 1 to 40, a group with one outcome, truncated rows, and ratios on both sides of the clip."""

from __future__ import annotations

import math
import random
from collections import Counter
from typing import Any

Batch = dict[str, Any]  # a case of ablate.replay, and its kind
KINDS = ("token", "sequence", "on_policy", "extreme")
SEED = 11
# The mean log-ratio of row i in a batch of kind "sequence": around the clip range of GSPO, 1 - 3e-4 .. 1 + 4e-4.
SEQUENCE_SHIFT = (6e-4, -6e-4, 2e-4, -2e-4, 5e-4, -4e-4, 7e-4, 1e-4, -7e-4, 3.5e-4, -3.5e-4)
EXTREME_SHIFT = (3.0, 3.0, 25.0, 25.0, -25.0, -25.0)  # of the first token of rows 0 to 5: ratios of 20, e^25, e^-25
SHAPES: tuple[tuple[list[list[int]], list[list[int]], list[list[bool]]], ...] = (
    ([[7, 3, 12, 5], [4, 9, 6, 2], [11, 5, 8, 1]],
     [[1, -1, -1, -1], [-1, -1, -1, -1], [1, 1, -1, 1]],
     [[False, False, True, False], [True, False, False, False], [False, False, False, False]]),
    ([[20, 6], [3, 17], [9, 9], [1, 30]], [[1, -1], [-1, 1], [1, 1], [-1, 1]],
     [[False, False], [False, False], [False, True], [True, False]]),
    ([[8, 24, 3, 5, 40, 2], [6, 6, 15, 4, 9, 33]], [[1, -1, 1, -1, -1, 1], [-1, 1, -1, -1, -1, -1]],
     [[False, False, False, False, True, False], [False, False, False, False, False, True]]),
)  # fmt: skip
EXTREME_SHAPE = ([[5, 6, 4, 3, 7, 2]], [[1, -1, 1, -1, 1, -1]], [[False] * 6])


def make_batches() -> list[Batch]:
    """Three shapes of the first three kinds, and one extreme batch; the same ones at every call."""
    rng = random.Random(SEED)
    batches = [make_batch(kind, shape, rng) for kind in KINDS[:3] for shape in SHAPES]
    return [*batches, make_batch("extreme", EXTREME_SHAPE, rng)]


def make_batch(kind: str, shape: tuple[Any, Any, Any], rng: random.Random) -> Batch:
    length, reward, truncated = shape
    old = [[-rng.expovariate(1.4) - 1e-3 for _ in range(count)] for group in length for count in group]
    new = [
        [o + d for o, d in zip(row, log_ratios(kind, place, len(row), rng), strict=True)]
        for place, row in enumerate(old)
    ]
    if kind == "extreme":
        for place, shift in enumerate(EXTREME_SHIFT):
            old[place][0] = min(old[place][0], -shift - 0.5) if shift > 0 else old[place][0]
            new[place][0] = old[place][0] + shift
    near = {name: [[o + rng.gauss(0, spread) for o in row] for row in old]
            for name, spread in (("rollout_logp", 0.5), ("ref_logp", 0.4))}  # fmt: skip
    return {"kind": kind, "num_groups": len(length), "group_size": len(length[0]), "length": length, "reward": reward,
            "truncated": truncated, "old_logp": old, "logp": new, **near}  # fmt: skip


def log_ratios(kind: str, place: int, count: int, rng: random.Random) -> list[float]:
    noise = [rng.gauss(0, 1) for _ in range(count)]
    if kind == "on_policy":
        return [0.0] * count
    if kind == "sequence":
        mean = sum(noise) / count
        return [SEQUENCE_SHIFT[place % len(SEQUENCE_SHIFT)] + 2e-3 * (each - mean) for each in noise]
    return [0.3 * each for each in noise]


def outside_the_clip(batch: Batch, low: float, high: float, is_sequence: bool) -> Counter[tuple[str, int]]:
    """How many tokens, or rows, lie beyond each side of the clip range, by the sign of the advantage."""
    found: Counter[tuple[str, int]] = Counter()
    rewards = [reward for group in batch["reward"] for reward in group]
    for sign, new, old in zip(rewards, batch["logp"], batch["old_logp"], strict=True):
        steps = [n - o for n, o in zip(new, old, strict=True)]
        for step in [sum(steps) / len(steps)] if is_sequence else steps:
            found["above", sign] += math.exp(step) > 1 + high
            found["below", sign] += math.exp(step) < 1 - low
    return found


def splits_of(count: int) -> dict[str, list[list[int]]]:
    """Ways to split the rows of an update into micro-batches."""
    half = count // 2
    return {
        "one": [list(range(count))],
        "two": [list(range(half)), list(range(half, count))],
        "pairs": [[row, row + 1] for row in range(0, count, 2)],
        "uneven": [[0], list(range(1, 4)), list(range(4, count))],
    }
