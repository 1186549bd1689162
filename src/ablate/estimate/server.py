"""One engine server with continuous batching. It admits requests while its cache has room, and preempts a request else.

All running sequences grow by one token in every engine step, so the state changes only when one ends or the cache is
full. Between these moments a step's duration grows linearly, and the server is advanced many steps at once.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field

from ablate.estimate.decode import EngineSpeed


@dataclass
class Sequence:
    """A request on a server; ``done`` response tokens are sampled."""

    index: int
    prompt: int
    response: int
    done: int = 0


@dataclass
class Server:
    """Time is in seconds; ``steps`` counts the engine's steps since its start."""

    speed: EngineSpeed
    max_num_seqs: int
    now: float = 0.0
    steps: int = 0
    busy_s: float = 0.0
    recomputed: int = 0  # tokens that were computed again after a preemption
    num_cached: int = 0  # tokens of the running sequences
    running: list[tuple[int, int, Sequence]] = field(default_factory=list)  # a heap of (step of the end, order, ...)
    waiting: deque[Sequence] = field(default_factory=deque)
    admitted: dict[int, tuple[int, Sequence]] = field(default_factory=dict)  # by order: (step of admission, sequence)
    order: int = 0

    @property
    def in_flight(self) -> int:
        return len(self.admitted) + len(self.waiting)

    def add(self, sequence: Sequence, now: float) -> None:
        """Take a request at ``now``; the server has been advanced to it."""
        self.now = max(self.now, now)
        self.waiting.append(sequence)
        self.admit()

    def admit(self) -> None:
        """Start waiting requests while there is room; a preempted one computes its tokens again."""
        while self.waiting and len(self.admitted) < self.max_num_seqs:
            sequence = self.waiting[0]
            tokens = sequence.prompt + sequence.done
            if self.admitted and self.num_cached + tokens + len(self.admitted) > self.speed.kv_tokens:
                return
            self.waiting.popleft()
            self.recomputed += sequence.done
            seconds = self.speed.prefill_s(tokens)
            self.now += seconds
            self.busy_s += seconds
            self.order += 1
            self.num_cached += tokens
            self.admitted[self.order] = (self.steps, sequence)
            heapq.heappush(self.running, (self.steps + sequence.response - sequence.done, self.order, sequence))

    def steps_until_change(self) -> int:
        """Steps until a sequence ends or the cache is full; 0 where nothing runs."""
        self._forget_preempted()
        if not self.running:
            return 0
        until_full = (self.speed.kv_tokens - self.num_cached) // len(self.admitted)
        return max(1, int(min(self.running[0][0] - self.steps, max(until_full, 0))))

    def seconds_of(self, num_steps: int) -> float:
        """Seconds of the next ``num_steps`` steps, in which nothing ends."""
        num_running = len(self.admitted)
        return num_steps * self.speed.step_with(num_running, self.num_cached + num_running * (num_steps - 1) / 2)

    def next_change(self) -> float | None:
        """When the next sequence ends or is preempted; None where nothing runs."""
        num_steps = self.steps_until_change()
        return self.now + self.seconds_of(num_steps) if num_steps else None

    def advance(self, until: float) -> None:
        """Run whole steps up to ``until``, which is before the next change."""
        num_steps = self.steps_until_change()
        if num_steps and until > self.now:
            whole = min(num_steps - 1, int((until - self.now) / (self.seconds_of(num_steps) / num_steps)))
            self._run(whole)

    def change(self) -> list[Sequence]:
        """Run up to the next change; return the sequences that ended."""
        self._run(self.steps_until_change())
        ended = []
        while self.running and self.running[0][0] <= self.steps:
            _, order, sequence = heapq.heappop(self.running)
            if order in self.admitted:
                self._leave(order)
                ended.append(sequence)
        if not ended and len(self.admitted) > 1:
            self._preempt()
        self.admit()
        return ended

    def _run(self, num_steps: int) -> None:
        seconds = self.seconds_of(num_steps)
        self.now += seconds
        self.busy_s += seconds
        self.steps += num_steps
        self.num_cached += num_steps * len(self.admitted)

    def _leave(self, order: int) -> Sequence:
        since, sequence = self.admitted.pop(order)
        self.num_cached -= sequence.prompt + sequence.done + self.steps - since
        return sequence

    def _preempt(self) -> None:
        """Take the newest sequence back, as vLLM does: it waits in front, and its cache is dropped."""
        order = max(self.admitted)
        since = self.admitted[order][0]
        sequence = self._leave(order)
        sequence.done += self.steps - since
        self.waiting.appendleft(sequence)

    def _forget_preempted(self) -> None:
        while self.running and self.running[0][1] not in self.admitted:
            heapq.heappop(self.running)
