# ruff: noqa: PTH110, PTH123, PTH208
# pathlib would be one more import in every test process.
"""What the processes of a test use and do at this moment, as /proc and the control group say it."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterable
from typing import NamedTuple

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
WINDOW_S = 0.001  # in which a program that has a processor must compute
GONE = (FileNotFoundError, ProcessLookupError)  # it ended after the list was made


class Process(NamedTuple):
    key: tuple[str, bytes]  # its id and when it began
    own_s: float  # CPU time of all its threads, also of those that have ended
    waited_s: float  # CPU time of the children that it has waited for, and of theirs


def processes_of(pids: Iterable[str]) -> list[Process]:
    found = []
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat", "rb") as stat:
                fields = stat.read().rpartition(b")")[2].split()
        except GONE:
            continue
        utime, stime, cutime, cstime = (int(ticks) / TICKS_PER_S for ticks in fields[11:15])
        found.append(Process((pid, fields[19]), utime + stime, cutime + cstime))
    return found


def thread_states(pids: Iterable[str]) -> list[bytes]:
    """The state letter of every thread of these processes: R runs or is ready to, D waits within the kernel."""
    states = []
    for pid in pids:
        try:
            for thread in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{thread}/stat", "rb") as stat:
                    states.append(stat.read().rpartition(b")")[2].split()[0])
        except GONE:
            continue
    return states


def processor_share(pids: Iterable[str]) -> float | None:
    """How many processors these processes have at this moment; None on kernels that do not say it exactly."""
    try:
        start, before_s = time.monotonic(), precise_cpu_s(pids)
        time.sleep(WINDOW_S)
        return (precise_cpu_s(pids) - before_s) / (time.monotonic() - start)
    except OSError:
        return None


def precise_cpu_s(pids: Iterable[str]) -> float:
    """CPU seconds of these processes, exact to the moment where /proc is late by a tick.

    Raises:
        OSError: on a kernel without such clocks.
    """
    total_s, refused = 0.0, None
    for pid in pids:
        try:
            total_s += time.clock_gettime(~int(pid) << 3 | 2)  # clock_getcpuclockid(3)
        except OSError as error:
            refused = error if os.path.exists(f"/proc/{pid}/task") else refused
    if refused is not None:
        raise refused
    return total_s


class CpuMeter:
    """CPU seconds of a test, also those of processes that ended without a parent waiting for them.

    Where a control group counts the container, a test has used what the container has, without this process. Else each
    look counts what living processes have used since the look before. What a process uses after the last look at it is
    lost if no parent waits for it; ``syscall_filter.build_filter`` sees to it that a process stays to be waited for.

    Args:
        group: descriptor of the control group's count (v1: cpuacct.usage, v2: cpu.stat), or None.
    """

    def __init__(self, group: int | None) -> None:
        self.group = group
        self.others_s = 0.0 if group is None else group_cpu_s(group) - time.process_time()
        self.used_s = self.total_s = 0.0
        self.own_s: dict[tuple[str, bytes], float] = {}

    def look(self, pids: Iterable[str]) -> float:
        """CPU seconds so far."""
        if self.group is not None:
            return self.end(0.0)
        processes = processes_of(pids)
        total_s = sum(process.own_s + process.waited_s for process in processes)
        gained_s = sum(process.own_s - self.own_s.get(process.key, 0.0) for process in processes)
        self.used_s += max(gained_s, total_s - self.total_s)
        self.total_s, self.own_s = total_s, {process.key: process.own_s for process in processes}
        return self.used_s

    def end(self, reaped_s: float) -> float:
        """CPU seconds in all. ``reaped_s``: of the first process and of all that it has waited for."""
        if self.group is not None:
            mine_s = time.process_time()  # first: reading it brings the group's count up to date
            self.used_s = max(self.used_s, group_cpu_s(self.group) - mine_s - self.others_s)
        return max(self.used_s, reaped_s)


def group_cpu_s(descriptor: int) -> float:
    text = os.pread(descriptor, 4096, 0)
    return int(text.split()[1]) / 1e6 if text.startswith(b"usage_usec") else int(text) / 1e9


def resident_bytes(pids: Iterable[str]) -> int:
    """Memory of these processes together; a page that n processes share counts n times."""
    return sum(map(resident_bytes_of, pids))


def resident_bytes_of(pid: str) -> int:
    try:
        with open(f"/proc/{pid}/statm", "rb") as sizes:
            return int(sizes.read().split()[1]) * resource.getpagesize()
    except GONE:
        return 0


def proportional_bytes(pids: Iterable[str]) -> int:
    """Memory of these processes together; a page that n processes share counts 1/n in each."""
    return sum(map(proportional_bytes_of, pids))


def proportional_bytes_of(pid: str) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as rows:
            return next(int(row.split()[1]) * 1024 for row in rows if row.startswith(b"Pss:"))
    except (OSError, StopIteration):  # gVisor has no such file, the program may forbid it, or it has ended
        return resident_bytes_of(pid)
