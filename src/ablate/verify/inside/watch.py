# ruff: noqa: PTH208
# pathlib would be one more import in every test process.
"""Measures what a test uses and stops it at its limits. Runs in the process that forked the test, which is trusted."""

from __future__ import annotations

import _socket
import os
import resource
import select
import signal
import time
from collections.abc import Callable, Iterable, Sequence

import usage
import walls
from test_report import TestReport

SHORTEST_PAUSE_S = 0.005
LONGEST_BLIND_PAUSE_S = 0.02  # on kernels that cannot wake the watcher when a test ends
STARVED_SHARE = 0.5  # of a test's whole time: with a larger share, the machine is why the test did not end
NUM_CORES = os.cpu_count() or 1
WALL = 0x40000000  # __WALL: also children that end without SIGCHLD

Members = Callable[[], Iterable[str]]  # the ids of all processes that belong to the running test


def members_of_namespace(idle: int) -> list[str]:
    """The ids of all processes of this PID namespace except the first, which is the watcher, and ``idle``."""
    return [name for name in os.listdir("/proc") if name.isdigit() and name not in ("1", str(idle))]


def watch(
    child: int,
    words: _socket.socket,
    limits: dict,
    members: Members,
    meter: usage.CpuMeter,
    files: Sequence[int] = (),
    idle: int | None = None,
) -> TestReport:
    """Wait until a test ends or reaches a limit and is stopped; reap its first process.

    Args:
        child: the test's first process.
        words: where the test says that its sandbox is complete, see ``walls.pair_for_words``.
        limits: see ``scoring.limits_of``.
        meter: made before the test was forked.
        files: descriptors of the files that take the test's output and result.
        idle: the first process of the test's own PID namespace; all others end with it, and it waits for them.
    """
    test = RunningTest(child, words, limits, members, meter, files)
    stopped = test.wait()
    _, status, used = os.wait4(child, 0)
    reaped_s, peak_kib = used.ru_utime + used.ru_stime, used.ru_maxrss
    if idle is not None:
        orphans_s, orphans_kib = end_namespace(idle)
        reaped_s, peak_kib = reaped_s + orphans_s, max(peak_kib, orphans_kib)
    wall_s = time.monotonic() - test.forked
    test.hear()
    return TestReport(
        is_confined=test.began is not None,
        complaint=test.complaint,
        status=status,
        stopped=stopped,
        cpu_s=meter.end(reaped_s),
        wall_s=wall_s,
        run_wait_s=test.starved_s,
        peak_kib=peak_kib,
    )


def end_namespace(idle: int) -> tuple[float, int]:
    """Kill its first process, and with it all others; return their CPU seconds and the peak of the largest in KiB."""
    os.kill(idle, signal.SIGKILL)
    cpu_s, peak_kib = 0.0, 0
    ours_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # the first process shares our memory
    ended = 0
    while ended != idle:  # another child of ours would be in its way
        ended, _, used = os.wait4(-1, WALL)
        cpu_s += used.ru_utime + used.ru_stime
        peak_kib = max(peak_kib, used.ru_maxrss if used.ru_maxrss > ours_kib else 0)
    return cpu_s, peak_kib


class RunningTest:
    """One test's first process, and what the whole test has used so far."""

    def __init__(
        self,
        child: int,
        words: _socket.socket,
        limits: dict,
        members: Members,
        meter: usage.CpuMeter,
        files: Sequence[int] = (),
    ) -> None:
        self.child = child
        self.words = words
        self.limits = limits
        self.members = members
        self.meter = meter
        self.files = files
        self.forked = self.looked = time.monotonic()
        self.began: float | None = None  # when its sandbox was complete and the program's first line ran
        self.complaint = ""
        self.used_s = 0.0
        self.starved_s = 0.0  # it was ready to run, and others had the processors
        self.blocked_s = 0.0  # it waited within the kernel, as for a disk

    def hear(self) -> None:
        """Read what the test process wrote before the program's first line.

        The test's end is closed before that line runs, so the program can neither write to it nor read from it.
        """
        said = walls.heard(self.words)
        if said.startswith(walls.CONFINED):
            self.began = float(said.removeprefix(walls.CONFINED))
        elif said:
            self.complaint = said.decode("utf-8", "replace")

    def wait(self) -> str | None:
        """Wait for the end; at a limit, kill the first process and return the limit's name. Does not reap."""
        try:
            handle = os.pidfd_open(self.child)
        except OSError:  # gVisor, which runs Modal's sandboxes, may lack the call
            handle = None
        stopped, pause_s = None, min(self.limits["cpu_s"] / NUM_CORES, self.limits["look_every_s"])
        try:
            while stopped is None and not self.ends_within(pause_s, handle):
                stopped, pause_s = self.look()
        finally:
            if handle is not None:
                os.close(handle)
        if stopped:
            os.kill(self.child, signal.SIGKILL)  # it is not reaped yet, so no other process can have its id
        return stopped

    def ends_within(self, pause_s: float, handle: int | None) -> bool:
        if handle is not None:
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            return bool(poll.poll(pause_s * 1000 + 1))
        time.sleep(min(pause_s, LONGEST_BLIND_PAUSE_S))
        return os.waitid(os.P_PID, self.child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def look(self) -> tuple[str | None, float]:
        """Return the limit that the test has reached, if any, and the seconds until the next look is needed.

        Wall time counts from the program's first line, without the time for which the machine kept the program waiting.
        """
        if self.began is None:
            self.hear()
        pids = list(self.members())
        self.note_waiting(pids)
        elapsed_s = time.monotonic() - self.forked
        kept_s = self.starved_s + self.blocked_s
        own_s = 0.0 if self.began is None else time.monotonic() - self.began - kept_s
        if self.used_s >= self.limits["cpu_s"]:
            return "cpu", 0.0
        if any(os.fstat(file).st_size > self.limits["output_bytes"] for file in self.files):
            return "output", 0.0
        # The first sum counts a page that forks share once for each of them; the second sum counts it once.
        memory_bytes = self.limits["memory_bytes"]
        if memory_bytes is not None and usage.resident_bytes(pids) > memory_bytes < usage.proportional_bytes(pids):
            return "memory", 0.0
        if own_s >= self.limits["wall_s"]:
            return "wall", 0.0
        if elapsed_s >= self.limits["starved_s"]:
            is_starved = self.began is None or self.starved_s > elapsed_s * STARVED_SHARE
            return "starved" if is_starved else "wall", 0.0
        left_s = self.limits["wall_s"] - own_s
        pause_s = min((self.limits["cpu_s"] - self.used_s) / NUM_CORES, left_s, self.limits["look_every_s"])
        return None, max(pause_s, SHORTEST_PAUSE_S)

    def note_waiting(self, pids: list[str]) -> None:
        """Take what the test does at this moment for what it has done since the last look.

        It is starved while a thread is ready to run and none has a processor. A program cannot bring that about by
        itself: on an idle machine, a thread that is ready has a processor, or another thread of the program has it. It
        may neither lower its priority nor choose its processors, see ``syscall_filter.FEIGNED``.

        A thread that the kernel holds (D) waits for the machine, unless there are others: it may have called vfork.
        """
        states = usage.thread_states(pids)
        share = usage.processor_share(pids) if b"R" in states else None
        before_s, self.used_s = self.used_s, self.meter.look(pids)
        now = time.monotonic()
        since_s, self.looked = now - max(self.looked, self.began or now), now
        if since_s <= 0:  # it has not begun
            return
        if b"R" in states and b"R" in usage.thread_states(pids):
            if share is None:  # gVisor: what it did not compute, it waited
                share = (self.used_s - before_s) / since_s
            self.starved_s += since_s * max(0.0, 1.0 - share)
        elif states == [b"D"]:
            self.blocked_s += since_s
