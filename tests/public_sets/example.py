"""One generated row, and the problems that rows are made from."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from ablate.data.tiny import Combination, make_problem, split

TRAIN, HELD_OUT, _ = split()


@dataclass(frozen=True)
class Example:
    """A row of a generated data set: its columns, and what the source must say about it.

    ``reason`` is the rule that the source rejects it by, or None where the source keeps it. ``trap`` names what is
    peculiar; where the source keeps a trap, curation is what must find it.
    """

    trap: str
    columns: dict[str, Any]
    reason: str | None = None


def stdin_pairs(combination: Combination) -> list[tuple[str, str]]:
    return [(test.input, test.output) for test in make_problem(combination).tests]


# The tests of a function are these calls. More than 15, because a published grader loses the name beyond that number.
CALLS = [(a, b) for a in (-7, -2, 0, 3, 11) for b in (-5, 0, 4, 9)]


@dataclass(frozen=True)
class Function:
    """A problem that asks for a function of a and b."""

    combination: Combination

    @property
    def name(self) -> str:
        parts = (self.combination.operation.name, self.combination.transformation.name)
        return "_".join(parts).replace("-", "_")

    @property
    def statement(self) -> str:
        operation, transformation = self.combination.operation, self.combination.transformation
        return f"Write a function {self.name} of a and b. Return {operation.phrase}{transformation.phrase}."

    @property
    def code(self) -> str:
        operation, transformation = self.combination.operation, self.combination.transformation
        return f"def {self.name}(a, b):\n    r = {operation.code}\n    return {transformation.code}\n"

    @property
    def stub(self) -> str:
        return f"def {self.name}(a, b):\n    "

    def value(self, a: int, b: int) -> int:
        return self.combination.answer(a, b)

    @property
    def encoded(self) -> list[tuple[str, str]]:
        """LiveCodeBench's encoding: one JSON value per line."""
        return [(f"{a}\n{b}", json.dumps(self.value(a, b))) for a, b in CALLS]


def functions(combinations: Sequence[Combination], taken: Collection[str] = ()) -> list[Function]:
    """Return a function per operation and transformation: layouts, which programs differ in, mean nothing to them."""
    found = {each.name: each for each in map(Function, combinations)}
    return [each for name, each in found.items() if name not in taken]


FUNCTIONS = functions(TRAIN)[:11]  # for training, and HELD_OUT_FUNCTIONS for evaluation: no two are the same problem
HELD_OUT_FUNCTIONS = functions(HELD_OUT, {each.name for each in FUNCTIONS})

STORY = (
    "A farmer keeps n sheep in a long row of stalls, and every morning she walks from the first stall to the last one "
    "and writes down how much wool each sheep carries. Given the n numbers on one line, print the largest total of "
    "wool that two different stalls can give together, where n is at most 100."
)
STORY_TESTS = [
    (f"{' '.join(map(str, numbers))}\n", f"{sum(sorted(numbers)[-2:])}\n")
    for numbers in ([1, 2], [5, 5, 5], [9, 1, 8, 2], [100, 3], [7, 7, 1], [4, 10, 6, 3, 2])
]
STORY_PROGRAM = "print(sum(sorted(map(int, input().split()))[-2:]))"
EVALUATION_STORY = (
    "A lighthouse keeper counts the ships that pass in each of the n hours of the night, and in the morning the keeper "
    "tells the harbour master how many hours had strictly more ships than the hour before. Given the n counts on one "
    "line, print the number of such hours."
)
EVALUATION_STORY_TESTS = [
    (f"{' '.join(map(str, counts))}\n", f"{sum(b > a for a, b in itertools.pairwise(counts))}\n")
    for counts in ([1, 2, 3], [3, 2, 1], [1, 1, 2, 2], [5], [4, 9, 1, 7, 7], [0, 1, 0, 1, 0, 1])
]
EVALUATION_STORY_PROGRAM = "c = list(map(int, input().split()))\nprint(sum(y > x for x, y in zip(c, c[1:])))"
