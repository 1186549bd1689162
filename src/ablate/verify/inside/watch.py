# ruff: noqa: PTH123, PTH208
# pathlib would be one more import in every test process.
"""Measures what a test uses and stops it at its limits. Runs in the process that forked the test, which is trusted."""

from __future__ import annotations

import os
import resource
import select
import signal
import time
from collections.abc import Callable, Iterable

import walls
from test_report import TestReport

SHORTEST_PAUSE_S = 0.005
LONGEST_BLIND_PAUSE_S = 0.02  # on kernels that cannot wake the watcher when a test ends
OWN_SHARE = 0.5  # of a test's whole time: with a smaller share, the machine is why the test did not end
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
NUM_CORES = os.cpu_count() or 1

Members = Callable[[], Iterable[str]]  # the ids of all processes that belong to the running test


def members_of_namespace() -> list[str]:
    """The ids of all processes of this PID namespace except the first, which is the watcher."""
    return [name for name in os.listdir("/proc") if name.isdigit() and name != "1"]


def watch(child: int, words: int, limits: dict, members: Members) -> TestReport:
    """Wait until a test ends or reaches a limit and is stopped; reap its first process.

    Args:
        child: the test's first process.
        words: the reading end of the pipe on which the test says that its sandbox is complete. It does not block.
        limits: see ``scoring.limits_of``.
    """
    test = RunningTest(child, words, limits, members)
    stopped = test.wait()
    _, status, usage = os.wait4(child, 0)
    wall_s = time.monotonic() - test.forked
    test.hear()
    return TestReport(
        is_confined=test.began is not None,
        complaint=test.complaint,
        status=status,
        stopped=stopped,
        cpu_s=max(usage.ru_utime + usage.ru_stime, test.used_s),
        wall_s=wall_s,
        run_wait_s=test.run_wait_s,
        peak_kib=usage.ru_maxrss,
    )


class RunningTest:
    """One test's first process and what the whole test has used so far."""

    def __init__(self, child: int, words: int, limits: dict, members: Members) -> None:
        self.child = child
        self.words = words
        self.limits = limits
        self.members = members
        self.forked = time.monotonic()
        self.began: float | None = None  # when its sandbox was complete and the program's first line ran
        self.complaint = ""
        self.used_s = self.run_wait_s = 0.0

    def hear(self) -> None:
        """Read what the test process wrote before the program's first line.

        The writing end is closed before that line runs, so the program can neither write to the pipe nor read from it.
        """
        try:
            said = os.read(self.words, 1000)
        except BlockingIOError:  # it has not said it yet
            return
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

        Wall time counts from the program's first line, without the time for which the program waited for a processor.
        It stops only a program that sleeps, because a busy machine and a blocking kernel are not the program's fault.
        """
        if self.began is None:
            self.hear()
        pids = list(self.members())
        self.used_s, resident_bytes, is_asleep = usage_of(pids)
        elapsed_s = time.monotonic() - self.forked
        self.run_wait_s = self.waited_s(elapsed_s, is_asleep)
        own_s = 0.0 if self.began is None else time.monotonic() - self.began - self.run_wait_s
        if self.used_s >= self.limits["cpu_s"]:
            return "cpu", 0.0
        # The first sum counts a page that forks share once for each of them; the second sum counts it once.
        if resident_bytes > self.limits["memory_bytes"] and proportional_bytes(pids) > self.limits["memory_bytes"]:
            return "memory", 0.0
        if own_s >= self.limits["wall_s"] and is_asleep:
            return "wall", 0.0
        if elapsed_s >= self.limits["starved_s"]:
            return "starved" if own_s < elapsed_s * OWN_SHARE else "wall", 0.0
        left_s = self.limits["wall_s"] - own_s
        pause_s = min((self.limits["cpu_s"] - self.used_s) / NUM_CORES, left_s, self.limits["look_every_s"])
        return None, max(pause_s, SHORTEST_PAUSE_S)

    def waited_s(self, elapsed_s: float, is_asleep: bool) -> float:
        """Seconds in which the test's first process was ready to run while others had the processors.

        Where the kernel does not count them (gVisor), a program that is ready to run has waited whenever it did not
        compute, and a program that sleeps has never waited.
        """
        counted_s = run_queue_wait_s(self.child)
        if counted_s is not None:
            return counted_s
        return 0.0 if is_asleep else elapsed_s - self.used_s


def usage_of(pids: Iterable[str]) -> tuple[float, int, bool]:
    """CPU seconds and resident bytes of these processes together, and whether all of them sleep."""
    cpu_s, resident_bytes, is_asleep = 0.0, 0, True
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat", "rb") as stat:
                fields = stat.read().rpartition(b")")[2].split()
            resident_bytes += resident_bytes_of(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended after the list was made
        is_asleep = is_asleep and fields[0] not in (b"R", b"D")
        cpu_s += sum(map(int, fields[11:15])) / TICKS_PER_S  # utime stime cutime cstime
    return cpu_s, resident_bytes, is_asleep


def resident_bytes_of(pid: str) -> int:
    with open(f"/proc/{pid}/statm", "rb") as sizes:
        return int(sizes.read().split()[1]) * resource.getpagesize()


def proportional_bytes(pids: Iterable[str]) -> int:
    """Memory of these processes together; a page that n processes share counts 1/n in each."""
    total = 0
    for pid in pids:
        try:
            total += proportional_bytes_of(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total


def proportional_bytes_of(pid: str) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as rows:
            return next(int(row.split()[1]) * 1024 for row in rows if row.startswith(b"Pss:"))
    except (
        FileNotFoundError,
        PermissionError,
        StopIteration,
    ):  # gVisor has no such file, and the program may forbid it
        return resident_bytes_of(pid)


def run_queue_wait_s(child: int) -> float | None:
    """Seconds in which a process was ready to run while others had the processors; None if the kernel does not say."""
    try:
        with open(f"/proc/{child}/schedstat", "rb") as stat:
            return int(stat.read().split()[1]) / 1e9
    except (FileNotFoundError, ProcessLookupError):
        return None
