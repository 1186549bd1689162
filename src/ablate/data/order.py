"""The order of problems in a run: a function of the seed alone, so that every cell sees the same problems."""

from __future__ import annotations

import random
from typing import TypedDict

from ablate.errors import UserError
from ablate.seeding import derive_seed


class OrderState(TypedDict):
    num_problems: int
    seed: int
    shuffle: bool
    position: int


class ProblemOrder:
    """Endless passes over the problems, each pass in its own order.

    The only state is the number of problems taken so far: taking 3 and then 5 gives the same 8 indices as taking 8.

    Example:
        ``ProblemOrder(num_problems=3, seed=0, shuffle=False).take(4) == [0, 1, 2, 0]``
    """

    def __init__(self, num_problems: int, seed: int, shuffle: bool):
        if num_problems < 1:
            raise UserError(f"a run needs at least one problem, not {num_problems}: fix data.train")
        self.num_problems = num_problems
        self.seed = seed
        self.shuffle = shuffle
        self.position = 0

    def take(self, num_taken: int) -> list[int]:
        """Return the next problem indices, in 0..num_problems-1; every pass holds every problem once."""
        indices = []
        while len(indices) < num_taken:
            epoch, start = divmod(self.position, self.num_problems)
            chunk = self.epoch_order(epoch)[start : start + num_taken - len(indices)]
            indices.extend(chunk)
            self.position += len(chunk)
        return indices

    def epoch_order(self, epoch: int) -> list[int]:
        order = list(range(self.num_problems))
        if self.shuffle:
            random.Random(derive_seed(self.seed, "problems", epoch)).shuffle(order)
        return order

    def state(self) -> OrderState:
        return {
            "num_problems": self.num_problems,
            "seed": self.seed,
            "shuffle": self.shuffle,
            "position": self.position,
        }

    def restore(self, state: OrderState) -> None:
        """Continue at the position of ``state``.

        Raises:
            UserError: when the state belongs to other problems, a different seed or a different order.
        """
        own = self.state()
        for name in ("num_problems", "seed", "shuffle"):
            if state[name] != own[name]:
                raise UserError(
                    f"the checkpoint's order of problems has {name}={state[name]}, but this run has {own[name]}: "
                    "resume with the same data"
                )
        self.position = state["position"]
