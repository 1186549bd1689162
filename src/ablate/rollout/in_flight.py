"""From prompts to verdicts: draws that are sampled, and verified one by one while others are still being sampled."""

from __future__ import annotations

import queue
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from ablate.process.preemption import POLL_S, raise_if_preempted
from ablate.rollout.draws import Conditions, Decode, Draw, Key, completion_of, requests_of
from ablate.rollout.engine import Engine, Request, Sampled
from ablate.types import Completion, RolloutGroup, Verdict
from ablate.verify.verifier import Verifier


@dataclass(frozen=True)
class Sampler:
    """An engine and the verifier of what it samples; training and evaluation both sample through it."""

    engine: Engine
    verifier: Verifier
    decode: Decode

    @contextmanager
    def in_flight(self, conditions: Conditions) -> Iterator[InFlight]:
        """Draws under these conditions. After the block, programs that are no longer needed are not run."""
        flight = InFlight(self, conditions)
        try:
            yield flight
        finally:
            flight.drop(range(len(flight.draws)))

    def sample_and_verify(self, draws: Sequence[Draw], conditions: Conditions) -> list[RolloutGroup]:
        """Sample every draw and verify every completion.

        Returns:
            One ``RolloutGroup`` per draw, in the order of ``draws``.

        Raises:
            UserError: if a prompt leaves no room for a response in the context.
            Preempted: if the process is preempted; nothing waits for the verdicts that are missing.
        """
        verified: dict[int, RolloutGroup] = {}
        with self.in_flight(conditions) as flight:
            self.engine.sample(flight.begin(draws), flight.on_finish)
            while len(verified) < len(draws):
                verified |= flight.wait_for_verified()
        return [verified[number] for number in range(len(draws))]


class InFlight:
    """Draws, numbered in the order in which they begin, on their way from a prompt to the verdicts of all samples.

    A completion goes to the verifier in the engine step in which it ends. A completion whose verdict is an
    infrastructure error is verified again, up to ``conditions.infrastructure_retries`` times, once nothing else is to
    be sampled. It is never sampled again, because then a sample would depend on the verifier's health.
    """

    def __init__(self, sampler: Sampler, conditions: Conditions) -> None:
        self.sampler, self.conditions = sampler, conditions
        self.draws: list[Draw] = []
        self.completions: dict[Key, Completion] = {}
        self.verdicts: dict[Key, Verdict] = {}
        self._futures: dict[Key, Future[Verdict]] = {}
        self._done: queue.SimpleQueue[Key] = queue.SimpleQueue()  # the verifier's threads fill it
        self._tries: Counter[Key] = Counter()
        self._again: list[Key] = []
        self._num_missing: dict[int, int] = {}  # verdicts that a draw waits for

    def begin(self, draws: Sequence[Draw]) -> list[Request]:
        """Number these draws and return what the engine has to sample for them."""
        requests = []
        for draw in draws:
            number = len(self.draws)
            requests += requests_of(draw, number, self.conditions)
            self.draws.append(draw)
            self._num_missing[number] = len(draw.samples)
        return requests

    def on_finish(self, key: Key, sampled: Sampled) -> None:
        """Verify what the engine has sampled."""
        self.completions[key] = completion_of(self.draws[key[0]], key[1], sampled, self.sampler.decode)
        self._submit(key)

    def _submit(self, key: Key) -> None:
        problem, text = self.draws[key[0]].problem, self.completions[key].text
        self._tries[key] += 1
        future = self._futures[key] = self.sampler.verifier.submit_answer(problem, text)
        future.add_done_callback(lambda _: self._done.put(key))

    def newly_verified(self) -> dict[int, RolloutGroup]:
        """The draws whose last verdict came since the last call, by number. Waits for nothing."""
        verified: dict[int, RolloutGroup] = {}
        while not self._done.empty():
            verified |= self._note(self._done.get())
        return verified

    def wait_for_verified(self) -> dict[int, RolloutGroup]:
        """As ``newly_verified``, once there is a verdict. Call it when nothing is being sampled.

        Raises:
            Preempted: if the process is preempted first.
        """
        again, self._again = self._again, []
        for key in again:
            self._submit(key)
        while True:
            raise_if_preempted()
            with suppress(queue.Empty):
                return self._note(self._done.get(timeout=POLL_S)) | self.newly_verified()

    def _note(self, key: Key) -> dict[int, RolloutGroup]:
        """Take the verdict of a completion; return its draw if that was the last one that it waited for."""
        if key[0] not in self._num_missing:  # dropped
            return {}
        verdict = self._futures.pop(key).result()
        if verdict.is_infrastructure_error and self._tries[key] <= self.conditions.infrastructure_retries:
            self._again.append(key)
            return {}
        self.verdicts[key] = verdict
        self._num_missing[key[0]] -= 1
        return {} if self._num_missing[key[0]] else {key[0]: self._whole(key[0])}

    def _whole(self, number: int) -> RolloutGroup:
        del self._num_missing[number]
        draw = self.draws[number]
        keys = [(number, index) for index in range(len(draw.samples))]
        return RolloutGroup(
            problem=draw.problem,
            completions=tuple(self.completions.pop(key) for key in keys),
            verdicts=tuple(self.verdicts.pop(key) for key in keys),
        )

    def drop(self, numbers: Collection[int]) -> list[Key]:
        """Forget the draws with these numbers unless they are verified; return what need not be sampled any more."""
        unwanted = [number for number in numbers if self._num_missing.pop(number, None) is not None]
        keys = [(number, index) for number in unwanted for index in range(len(self.draws[number].samples))]
        self._again = [key for key in self._again if key[0] in self._num_missing]
        for key in keys:
            if (future := self._futures.pop(key, None)) is not None:
                future.cancel()  # a program that runs already runs to its end
        return [key for key in keys if self.completions.pop(key, None) is None]
