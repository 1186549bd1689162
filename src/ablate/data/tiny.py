"""The tiny problem set: operation x transformation x input layout over two integers; ``python -m ablate.data.tiny``.

Every problem is a combination of three parts. The combination of an evaluation problem is in no training problem and
in no demonstration, but each of its parts is in both. So a model can solve it by generalising, and not by recall.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain, product
from pathlib import Path

from ablate.data.problems import SHIPPED_DIR, problem_row
from ablate.seeding import derive_seed
from ablate.types import Problem, TestCase

SEED = 20240
NUM_TRAIN = 48
NUM_EVAL = 28
NUM_RANDOM_TESTS = 3
MIN_OCCURRENCES = 2  # of every part, in the training and in the evaluation problems
DIFFICULTIES = ("easy", "medium", "hard")  # by the number of hard parts


@dataclass(frozen=True)
class Operation:
    """What is computed from a and b. ``mistaken_for`` names the operation that a weak programmer computes instead."""

    name: str
    phrase: str
    code: str
    apply: Callable[[int, int], int]
    mistaken_for: str
    hard: bool = False


@dataclass(frozen=True)
class Transformation:
    """What is done to the result r. A ``mistaken_for`` of "plain" means that a weak programmer forgets it."""

    name: str
    phrase: str
    code: str
    apply: Callable[[int], int]
    mistaken_for: str | None
    hard: bool = False


@dataclass(frozen=True)
class Layout:
    """How the integers appear in the input. ``written`` is the plain form, then unusual but legal forms."""

    name: str
    phrase: str
    code: str
    written: tuple[str, ...]
    mistaken_for: str


# Each function is written twice on purpose, as `code` and as `apply`, because the expected outputs must not come from
# the program that they will test.
OPERATIONS = (
    Operation("sum", "the sum", "a+b", lambda a, b: a + b, "minus"),
    Operation("minus", "a minus b", "a-b", lambda a, b: a - b, "sum"),
    Operation("product", "the product", "a*b", lambda a, b: a * b, "sum"),
    Operation("larger", "the larger", "max(a,b)", lambda a, b: a if a > b else b, "smaller"),
    Operation("smaller", "the smaller", "min(a,b)", lambda a, b: a if a < b else b, "larger"),
    Operation("subtracted", "b minus a", "b-a", lambda a, b: b - a, "minus", hard=True),
    Operation("distance", "the distance", "abs(a-b)", lambda a, b: a - b if a > b else b - a, "minus", hard=True),
    Operation("weighted", "a plus twice b", "a+2*b", lambda a, b: a + b + b, "sum", hard=True),
)
TRANSFORMATIONS = (
    Transformation("plain", "", "r", lambda r: r, None),
    Transformation("doubled", ", doubled", "r*2", lambda r: r + r, "squared"),
    Transformation("plus-one", ", plus one", "r+1", lambda r: r + 1, "minus-one"),
    Transformation("minus-one", ", minus one", "r-1", lambda r: r - 1, "plus-one"),
    Transformation("negated", ", negated", "-r", lambda r: 0 - r, "plain"),
    Transformation("squared", ", squared", "r*r", lambda r: r**2, "doubled", hard=True),
    Transformation("modulo-seven", ", modulo 7", "r%7", lambda r: r - 7 * (r // 7), "plain", hard=True),
)
LAYOUTS = (
    Layout(
        "line",
        "Read a b on one line.",
        "a,b=map(int,input().split())",
        ("{a} {b}\n", "  {a}   {b} \n", "{a}\t{b}\n", "{a} {b}"),
        "lines",
    ),
    Layout(
        "lines",
        "Read a and b on two lines.",
        "a=int(input())\nb=int(input())",
        ("{a}\n{b}\n", " {a}\n  {b} \n", "{a}\t\n\t{b}\n", "{a}\n{b}"),
        "line",
    ),
    Layout(
        "comma",
        "Read a,b with a comma.",
        'a,b=map(int,input().split(","))',
        ("{a},{b}\n", " {a} , {b} \n", "{a},\t{b}\n", "{a},{b}"),
        "line",
    ),
)
OPERATION = {part.name: part for part in OPERATIONS}
TRANSFORMATION = {part.name: part for part in TRANSFORMATIONS}
LAYOUT = {part.name: part for part in LAYOUTS}

EDGE_PAIRS = ((0, 0), (0, 5), (7, 0), (3, 3), (-4, 9), (8, -13), (-6, -6), (-2, -11), (10**18, 1 - 10**17))


@dataclass(frozen=True)
class Combination:
    """One problem of the grid."""

    operation: Operation
    transformation: Transformation
    layout: Layout

    @property
    def id(self) -> str:
        return f"tiny-{self.operation.name}-{self.transformation.name}-{self.layout.name}"

    @property
    def statement(self) -> str:
        return f"{self.layout.phrase} Print {self.operation.phrase}{self.transformation.phrase}."

    @property
    def program(self) -> str:
        return f"{self.layout.code}\nr={self.operation.code}\nprint({self.transformation.code})"

    @property
    def difficulty(self) -> str:
        return DIFFICULTIES[self.operation.hard + self.transformation.hard]

    def answer(self, a: int, b: int) -> int:
        return self.transformation.apply(self.operation.apply(a, b))

    @property
    def behaviour(self) -> tuple[str | int, ...]:
        """The layout and the answers on a grid of pairs: equal for two combinations whose programs do the same."""
        return self.layout.name, *(self.answer(a, b) for a, b in product(range(-9, 10), repeat=2))


def all_combinations() -> list[Combination]:
    """Return the grid without combinations that behave like an earlier one: "a minus b, negated" is "b minus a"."""
    seen: dict[tuple[str | int, ...], Combination] = {}
    for layout, operation, transformation in product(LAYOUTS, OPERATIONS, TRANSFORMATIONS):
        combination = Combination(operation, transformation, layout)
        seen.setdefault(combination.behaviour, combination)
    return list(seen.values())


def is_balanced(combinations: Iterable[Combination]) -> bool:
    """Whether every operation, transformation, layout and difficulty occurs at least ``MIN_OCCURRENCES`` times."""
    parts = [(each.operation, each.transformation, each.layout, each.difficulty) for each in combinations]
    counts = Counter(chain.from_iterable(parts))
    return all(counts[part] >= MIN_OCCURRENCES for part in (*OPERATIONS, *TRANSFORMATIONS, *LAYOUTS, *DIFFICULTIES))


def split(seed: int = SEED) -> tuple[list[Combination], list[Combination], list[Combination]]:
    """Return (train, evaluation, rest), which are disjoint; train and evaluation are both balanced.

    The rest is in no problem file. There are demonstrations of the rest and of the training problems.
    """
    combinations = all_combinations()
    rng = random.Random(derive_seed(seed, "split"))
    while True:
        rng.shuffle(combinations)
        train, held_out = combinations[:NUM_TRAIN], combinations[NUM_TRAIN : NUM_TRAIN + NUM_EVAL]
        if is_balanced(train) and is_balanced(held_out):
            return train, held_out, combinations[NUM_TRAIN + NUM_EVAL :]


def make_problem(combination: Combination, seed: int = SEED) -> Problem:
    """Return the problem with its tests: edge cases, then random pairs, then unusual whitespace."""
    rng = random.Random(derive_seed(seed, "tests", combination.id))
    pairs = [*EDGE_PAIRS]
    pairs += [(rng.randint(-99, 99), rng.randint(-99, 99)) for _ in range(NUM_RANDOM_TESTS)]
    plain, *unusual = combination.layout.written
    written = [(plain, pair) for pair in pairs]
    written += [(form, (rng.randint(-999, 999), rng.randint(-999, 999))) for form in unusual]
    return Problem(
        id=combination.id,
        statement=combination.statement,
        tests=tuple(TestCase(form.format(a=a, b=b), f"{combination.answer(a, b)}\n") for form, (a, b) in written),
        difficulty=combination.difficulty,
        reference=combination.program,
        source="python -m ablate.data.tiny",
        license="Apache-2.0",
    )


def taught() -> list[Problem]:
    """The problems that demonstrations may be of."""
    train, _, rest = split()
    return [make_problem(each) for each in (*train, *rest)]


def problem_files(seed: int = SEED) -> dict[str, str]:
    """Return the text of each shipped file by its name."""
    train, held_out, _ = split(seed)
    return {
        name: "".join(json.dumps(problem_row(make_problem(each, seed))) + "\n" for each in combinations)
        for name, combinations in (("tiny_train.jsonl", train), ("tiny_eval.jsonl", held_out))
    }


def main(out_dir: Path = SHIPPED_DIR) -> None:
    out_dir.mkdir(parents=True, exist_ok=True)
    for name, text in problem_files().items():
        (out_dir / name).write_text(text, encoding="utf-8")
        print(f"{out_dir / name}: {text.count(chr(10))} problems")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
