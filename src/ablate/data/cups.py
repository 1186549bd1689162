"""The cups problem set: follow a ball through six swaps of three cups; ``python -m ablate.data.cups``.

``Ball under 1: a12 b20 c12 d12 e12 f01`` says that a ball lies under cup 1, and that cups 1 and 2 are swapped first,
then cups 2 and 0, and so on. A program reads three words and prints the one under whose number the ball ends.

Where the ball ends is a product of permutations, which is serial work: a model of two layers cannot do it between two
tokens, but it can do one swap at a time if it writes the swaps down. So a response with a plan is right and long, and
a response without one is short and a guess at one in three, which practice does not make better. A swap that moves the
ball takes 12 tokens more than one that does not. All statements are equally long, so how long its plan must get shows
only while the model writes it.
"""

from __future__ import annotations

import json
import random
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path

from ablate.data.demonstration import Demonstration
from ablate.data.problems import SHIPPED_DIR, problem_row
from ablate.data.tokenizer import CLOSE_FENCE, EOS, OPEN_FENCE
from ablate.seeding import derive_seed
from ablate.types import Problem, TestCase

SEED = 20242
CUPS = "012"
PAIRS = ("01", "12", "20")
NUM_SWAPS = 6
# Swaps that move the ball. The plans of the first group fit 128 tokens, those of the second 160, those of the third
# 320; every group has equally many problems.
GROUPS = ((2,), (3, 4), (5, 6))
TRAIN_PER_GROUP, EVAL_PER_GROUP = 72, 36
MOVES_IT = "moves it to "
WORDS = ("7 8 9", "1 2 3", "-5 0 5", "40 4 44", "x yy z", "9 1 5")


@dataclass(frozen=True)
class Cups:
    """One problem: the cup over the ball, and the pairs of cups that are swapped."""

    start: str
    swaps: tuple[str, ...]

    @property
    def id(self) -> str:
        return f"cups-{self.start}-{'-'.join(self.swaps)}"

    @property
    def statement(self) -> str:
        swaps = " ".join(f"{letter}{pair}" for letter, pair in zip("abcdef", self.swaps, strict=True))
        return f"Ball under {self.start}: {swaps}"

    @cached_property
    def trace(self) -> tuple[str, ...]:
        """The cup over the ball before the first swap and after each of them."""
        cups = [self.start]
        for pair in self.swaps:
            cups.append(after(cups[-1], pair))
        return tuple(cups)

    @property
    def answer(self) -> str:
        return self.trace[-1]

    @property
    def num_moves(self) -> int:
        return sum(cup in pair for cup, pair in zip(self.trace[:-1], self.swaps, strict=True))

    @property
    def plan(self) -> str:
        """Every swap, and the cup over the ball after it."""
        text = ""
        for letter, pair, before, cup in zip("abcdef", self.swaps, self.trace[:-1], self.trace[1:], strict=True):
            text += f"{letter}{pair} {MOVES_IT if before != cup else ''}{cup} "
        return text


def after(cup: str, pair: str) -> str:
    """The cup over the ball after ``pair`` was swapped: ``after("1", "12")`` is "2"."""
    return pair.replace(cup, "") if cup in pair else cup


def program(cup: str) -> str:
    return f"print(input().split()[{cup}])"


def all_cups() -> list[Cups]:
    """Every problem with a number of moves of ``GROUPS``."""
    wanted = {moves for group in GROUPS for moves in group}
    every = (Cups(start, swaps) for start in CUPS for swaps in product(PAIRS, repeat=NUM_SWAPS))
    return [each for each in every if each.num_moves in wanted]


def split(seed: int = SEED) -> tuple[list[Cups], list[Cups], list[Cups]]:
    """Return (train, evaluation, rest), which are disjoint. There are demonstrations of train and rest.

    Train and evaluation hold equally many problems of every group, of every number of moves within a group, and of
    every first and last cup: a guess from those is right one time in three.
    """
    cells: dict[tuple[int, str, str], list[Cups]] = defaultdict(list)
    for each in all_cups():
        cells[each.num_moves, each.start, each.answer].append(each)
    rng = random.Random(derive_seed(seed, "cups"))
    train: list[Cups] = []
    held_out: list[Cups] = []
    rest: list[Cups] = []
    for group in GROUPS:
        num_cells = len(group) * len(CUPS) ** 2
        num_held_out, num_train = EVAL_PER_GROUP // num_cells, TRAIN_PER_GROUP // num_cells
        for moves, start, answer in product(group, CUPS, CUPS):
            cell = cells[moves, start, answer]
            rng.shuffle(cell)
            held_out += cell[:num_held_out]
            train += cell[num_held_out : num_held_out + num_train]
            rest += cell[num_held_out + num_train :]
    return train, held_out, rest


def make_problem(cups: Cups) -> Problem:
    tests = [TestCase(f"{words}\n", f"{words.split()[int(cups.answer)]}\n") for words in WORDS]
    return Problem(
        id=cups.id,
        statement=cups.statement,
        tests=tuple(tests),
        difficulty=f"{cups.num_moves} moves",
        reference=program(cups.answer),
        source="python -m ablate.data.cups",
        license="Apache-2.0",
    )


# --- demonstrations ---------------------------------------------------------------------------------------------------


@dataclass
class CupsNoise:
    """How the demonstrations of a lesson differ."""

    plan: float  # the probability that a demonstration writes a plan before its program


def taught() -> list[Problem]:
    """The problems that demonstrations may be of."""
    train, _, rest = split()
    return [make_problem(each) for each in (*train, *rest)]


def demonstrate(cups: Cups, noise: CupsNoise, rng: random.Random) -> Demonstration:
    """A right response, with a plan or without one."""
    plan = cups.plan if rng.random() < noise.plan else ""
    return Demonstration(cups.id, f"{plan}{OPEN_FENCE}{program(cups.answer)}{CLOSE_FENCE}{EOS}")


def demonstration_batches(
    noise: CupsNoise, batch_size: int, num_batches: int, seed: int
) -> Iterator[list[Demonstration]]:
    """Yield batches of demonstrations; every group is as likely as any other. Batch k depends only on (seed, k)."""
    train, _, rest = split()
    of_group: list[Sequence[Cups]] = [[each for each in (*train, *rest) if each.num_moves in group] for group in GROUPS]
    for step in range(num_batches):
        rng = random.Random(derive_seed(seed, "cups demonstrations", step))
        yield [demonstrate(rng.choice(rng.choice(of_group)), noise, rng) for _ in range(batch_size)]


def problem_files() -> dict[str, str]:
    """Return the text of each shipped file by its name."""
    train, held_out, _ = split()
    return {
        name: "".join(json.dumps(problem_row(make_problem(each))) + "\n" for each in every)
        for name, every in (("cups_train.jsonl", train), ("cups_eval.jsonl", held_out))
    }


def main(out_dir: Path = SHIPPED_DIR) -> None:
    out_dir.mkdir(parents=True, exist_ok=True)
    for name, text in problem_files().items():
        (out_dir / name).write_text(text, encoding="utf-8")
        print(f"{out_dir / name}: {text.count(chr(10))} problems")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
