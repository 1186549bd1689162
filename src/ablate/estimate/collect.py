"""A batch of rollouts on a pool of servers and sandboxes, simulated event by event.

The rules are those of ``ablate.rollout``: one queue of requests; the next request goes to the server with the fewest in
flight; every completion goes to a sandbox at once; further problems are drawn as soon as they may be needed; the batch
is complete when the first groups that are kept, in the order of draws, have their verdicts.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from ablate.config.schedule import num_to_draw
from ablate.estimate.decode import EngineSpeed
from ablate.estimate.server import Sequence, Server

Lengths = Callable[[], tuple[int, int]]  # tokens of a prompt, and of one response to it


@dataclass(frozen=True)
class Pool:
    """What samples and what verifies."""

    speed: EngineSpeed
    num_servers: int
    max_num_seqs: int  # of a server
    num_sandboxes: int
    batch_s: float = 0.0  # of every call of the engine
    cores: float = math.inf  # that the running sandboxes share while an engine samples
    cores_alone: float = math.inf  # while none does

    def servers(self) -> list[Server]:
        return [Server(self.speed, self.max_num_seqs) for _ in range(self.num_servers)]


@dataclass(frozen=True)
class BatchWork:
    """What is sampled: ``num_groups`` that are kept, of at most ``max_draws``."""

    num_groups: int
    group_size: int
    lengths: Lengths
    verify_s: Callable[[], float]
    keeps: Callable[[], bool] = lambda: True
    kept_share: float = 1.0
    max_draws: int = 1_000_000
    context: int | None = None  # where a response is cut; one that was cut has no program, and its verdict is at once


@dataclass(frozen=True)
class Collected:
    """What a batch took, in seconds from its start."""

    seconds: float  # until the last verdict that the batch needs
    sampled_s: float  # until the last completion that the batch needs
    server_busy_s: float  # summed over servers
    sandbox_busy_s: float  # summed over sandboxes
    program_s: float  # of the same programs, if each had a core of its own
    num_responses: int
    num_tokens: int  # of these responses
    num_recomputed: int  # tokens that were computed again after a preemption
    kept_lengths: tuple[int, ...]  # tokens of prompt and response, of the groups that are trained on

    @property
    def exposed_verification_s(self) -> float:
        return self.seconds - self.sampled_s


@dataclass
class _Group:
    first: int  # index of its first request
    kept: bool
    missing: int  # verdicts
    sampled_s: float = 0.0
    decided_s: float | None = None


@dataclass
class _Simulation:
    pool: Pool
    work: BatchWork
    servers: list[Server]
    queue: deque[Sequence] = field(default_factory=deque)
    sequences: list[Sequence] = field(default_factory=list)
    groups: list[_Group] = field(default_factory=list)
    events: list[tuple[float, int, int, int]] = field(default_factory=list)  # (time, number, server or -1, group)
    stamps: dict[int, int] = field(default_factory=dict)  # of each server's newest event
    num_free: int = 0  # sandboxes
    programs: deque[int] = field(default_factory=deque)  # that wait for one, by group
    number: int = 0
    sandbox_busy_s: float = 0.0
    program_s: float = 0.0
    is_complete: bool = False  # the first groups that are kept, in the order of draws, are decided

    def push(self, time: float, server: int, group: int) -> None:
        self.number += 1
        heapq.heappush(self.events, (time, self.number, server, group))
        if server >= 0:
            self.stamps[server] = self.number

    def draw(self, count: int, now: float) -> None:
        """Put ``count`` new groups into the queue, and start what fits."""
        for _ in range(min(count, self.work.max_draws - len(self.groups))):
            self.groups.append(_Group(len(self.sequences), self.work.keeps(), self.work.group_size))
            prompt, _ = self.work.lengths()
            for _ in range(self.work.group_size):
                sequence = Sequence(len(self.sequences), prompt, max(1, self.work.lengths()[1]))
                self.sequences.append(sequence)
                self.queue.append(sequence)
        self.fill(now)

    def fill(self, now: float) -> None:
        """Hand requests to the server with the fewest in flight until none waits or every server is full."""
        loads = [(server.in_flight, index) for index, server in enumerate(self.servers)]
        heapq.heapify(loads)
        touched = set()
        while self.queue and loads[0][0] < self.pool.max_num_seqs:
            in_flight, index = loads[0]
            if index not in touched:
                self.servers[index].advance(now)
                touched.add(index)
            self.servers[index].add(self.queue.popleft(), now)
            heapq.heapreplace(loads, (in_flight + 1, index))
        for index in touched:
            self.schedule(index)

    def schedule(self, index: int) -> None:
        time = self.servers[index].next_change()
        if time is not None:
            self.push(time, index, -1)

    def start_programs(self, now: float) -> None:
        """Run the programs that wait, while a sandbox is free; those that run share the cores."""
        while self.programs and self.num_free:
            is_sampling = any(server.admitted for server in self.servers)
            cores = self.pool.cores if is_sampling else self.pool.cores_alone
            own_s = self.work.verify_s()
            self.num_free -= 1
            seconds = own_s * max(1.0, (self.pool.num_sandboxes - self.num_free) / cores)
            self.program_s += own_s
            self.sandbox_busy_s += seconds
            self.push(now + seconds, -1, self.programs.popleft())

    def run(self) -> None:
        """Simulate until the batch is complete, or nothing is left to do."""
        self.draw(num_to_draw(self.work.num_groups, 0, 0, self.work.kept_share), self.pool.batch_s)
        while self.events and not self.is_complete:
            now, number, index, group = heapq.heappop(self.events)
            if index < 0:
                self.num_free += 1
                self.start_programs(now)
                self.decide(group, now)
            elif self.stamps[index] == number:
                self.end(index)

    def end(self, index: int) -> None:
        server, cut = self.servers[index], []
        for sequence in server.change():
            group = sequence.index // self.work.group_size
            self.groups[group].sampled_s = server.now
            was_cut = self.work.context is not None and sequence.prompt + sequence.response >= self.work.context
            (cut if was_cut else self.programs).append(group)
        self.start_programs(server.now)
        for group in cut:
            self.decide(group, server.now)
        if self.queue:
            self.fill(server.now)
        self.schedule(index)

    def decide(self, index: int, now: float) -> None:
        """Count a verdict, and draw more once the last of its group is there."""
        group = self.groups[index]
        group.missing -= 1
        if group.missing:
            return
        group.decided_s = now
        self.is_complete = self.last_needed() is not None
        decided = [each for each in self.groups if each.decided_s is not None]
        num_kept, work = sum(each.kept for each in decided), self.work
        wanted = num_to_draw(work.num_groups - num_kept, num_kept, len(decided), work.kept_share)
        self.draw(max(0, wanted - (len(self.groups) - len(decided))), now)

    def last_needed(self) -> int | None:
        num_kept = 0
        for index, group in enumerate(self.groups):
            if group.decided_s is None:
                return None
            num_kept += group.kept
            if num_kept == self.work.num_groups:
                return index
        return None


def collect(pool: Pool, work: BatchWork) -> Collected:
    """Simulate one batch."""
    simulation = _Simulation(pool, work, pool.servers(), num_free=pool.num_sandboxes)
    simulation.run()
    last = simulation.last_needed()
    needed = simulation.groups[: len(simulation.groups) if last is None else last + 1]
    size = work.group_size
    kept = [group for group in needed if group.kept]
    return Collected(
        seconds=max((group.decided_s or 0.0 for group in needed), default=0.0),
        sampled_s=max((group.sampled_s for group in needed), default=0.0),
        server_busy_s=sum(server.busy_s for server in simulation.servers),
        sandbox_busy_s=simulation.sandbox_busy_s,
        program_s=simulation.program_s,
        num_responses=len(simulation.sequences),
        num_tokens=sum(sequence.response for sequence in simulation.sequences),
        num_recomputed=sum(server.recomputed for server in simulation.servers),
        kept_lengths=tuple(
            sequence.prompt + sequence.response
            for group in kept
            for sequence in simulation.sequences[group.first : group.first + size]
        ),
    )
