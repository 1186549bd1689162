# ruff: noqa: PTH123, PTH208
# pathlib would be one more import in every test process.
"""What a running test uses, and the limits that end it. Runs in the program process, outside the test's walls."""

from __future__ import annotations

import io
import os
import resource
import select
import signal
import time

import program

SHORTEST_PAUSE_S = 0.005
OWN_SHARE = 0.5  # of a test's whole time: with less the machine and not the program is why it did not end
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
NUM_CORES = os.cpu_count() or 1


class RunningTest:
    """One test's first process, whose end is the end of its namespace, and what it has used so far."""

    def __init__(self, child: int, words: io.FileIO, limits: dict) -> None:
        self.child = child
        self.words = words
        self.limits = limits
        self.forked = time.monotonic()
        self.began: float | None = None  # when its walls stood and the program's first line ran
        self.complaint = ""
        self.used_s = self.run_wait_s = 0.0

    def hear(self) -> None:
        """Read what the process said before the program's first line, on a pipe that was closed by then.

        Nobody else can say or unsay it.
        """
        said = self.words.read(1000) or b""
        if said.startswith(program.CONFINED):
            self.began = float(said.removeprefix(program.CONFINED))
        elif said:
            self.complaint = said.decode("utf-8", "replace")

    def wait(self) -> str | None:
        """Wait for the end; stop the test at a limit and return which, or None."""
        handle = os.pidfd_open(self.child)
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        stopped, pause_s = None, min(self.limits["cpu_s"] / NUM_CORES, self.limits["look_every_s"])
        try:
            while stopped is None and not poll.poll(pause_s * 1000 + 1):
                stopped, pause_s = self.look()
            if stopped:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            os.close(handle)
        return stopped

    def look(self) -> tuple[str | None, float]:
        """Which limit the test has reached, if any, and for how long nobody needs to look again.

        Wall time counts from the program's first line, without the time it waited for a processor, and stops only a
        program that sleeps: a busy machine or a blocking kernel is not its fault.
        """
        if self.began is None:
            self.hear()
        self.used_s, resident_bytes, is_asleep = usage_of_namespace()
        self.run_wait_s = run_queue_wait_s(self.child)
        elapsed_s = time.monotonic() - self.forked
        own_s = 0.0 if self.began is None else time.monotonic() - self.began - self.run_wait_s
        if self.used_s >= self.limits["cpu_s"]:
            return "cpu", 0.0
        # Pages that forks share count in each of them, so a sum above the limit is looked at twice.
        if resident_bytes > self.limits["memory_bytes"] and proportional_bytes() > self.limits["memory_bytes"]:
            return "memory", 0.0
        if own_s >= self.limits["wall_s"] and is_asleep:
            return "wall", 0.0
        if elapsed_s >= self.limits["starved_s"]:
            return "starved" if own_s < elapsed_s * OWN_SHARE else "wall", 0.0
        left_s = self.limits["wall_s"] - own_s
        pause_s = min((self.limits["cpu_s"] - self.used_s) / NUM_CORES, left_s, self.limits["look_every_s"])
        return None, max(pause_s, SHORTEST_PAUSE_S)


def usage_of_namespace() -> tuple[float, int, bool]:
    """CPU seconds, resident bytes and idleness of the running test: of every process here but ourselves."""
    cpu_s, resident_bytes, is_asleep = 0.0, 0, True
    for name in os.listdir("/proc"):
        if not name.isdigit() or name == "1":  # ourselves
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as stat, open(f"/proc/{name}/statm", "rb") as statm:
                fields = stat.read().rpartition(b")")[2].split()
                resident_bytes += int(statm.read().split()[1]) * resource.getpagesize()
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended between the listing and the look
        is_asleep = is_asleep and fields[0] not in (b"R", b"D")
        cpu_s += sum(map(int, fields[11:15])) / TICKS_PER_S  # utime stime cutime cstime
    return cpu_s, resident_bytes, is_asleep


def proportional_bytes() -> int:
    """Memory of every process here but ourselves, a page shared by n of them counted 1/n in each."""
    total = 0
    for name in os.listdir("/proc"):
        if not name.isdigit() or name == "1":
            continue
        try:
            with open(f"/proc/{name}/smaps_rollup", "rb") as rows:
                total += next(int(row.split()[1]) * 1024 for row in rows if row.startswith(b"Pss:"))
        except (FileNotFoundError, ProcessLookupError):
            continue
        except PermissionError:  # it has closed itself to readers
            with open(f"/proc/{name}/statm", "rb") as sizes:
                total += int(sizes.read().split()[1]) * resource.getpagesize()
    return total


def run_queue_wait_s(child: int) -> float:
    """Seconds the test's first process was ready to run while others had the processors."""
    try:
        with open(f"/proc/{child}/schedstat", "rb") as stat:
            return int(stat.read().split()[1]) / 1e9
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
