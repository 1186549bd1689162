"""The watcher of a test: what it counts, and what it decides."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ablate.verify.local.cgroups import Group

sys.path.insert(0, str(Path(__file__).parents[2] / "src" / "ablate" / "verify" / "inside"))  # as the sandbox does

import usage
import walls
import watch

LOOKS = {  # used CPU s, states of all threads, processors they have (None: not known), elapsed s: the decision
    "young": (0.1, "R", 1.0, 0.5, None),
    "out of CPU time": (2.0, "R", 1.0, 2.5, "cpu"),
    "asleep": (0.0, "S", None, 9.5, "wall"),
    "every thread asleep": (0.0, "SSS", None, 9.5, "wall"),
    "its children stopped": (0.0, "STt", None, 9.5, "wall"),
    "waits for a child of vfork": (0.0, "DS", None, 9.5, "wall"),
    "waits for a disk": (0.0, "D", None, 9.5, None),
    "waits for a disk for five times the limit": (0.0, "D", None, 45.5, "wall"),
    "ready, and others have the processors": (0.5, "R", 0.0, 9.5, None),
    "ready in a thread, and others have the processors": (0.5, "SSR", 0.0, 9.5, None),
    "has half a processor": (0.5, "R", 0.5, 9.5, None),
    "threads wait for each other": (0.5, "SRRRR", 1.0, 9.5, "wall"),
    "at work, and asleep before": (0.5, "R", 1.0, 9.5, "wall"),
    "starved": (0.5, "R", 0.0, 45.5, "starved"),
    "starved in a thread": (0.5, "SR", 0.1, 45.5, "starved"),
    "starved a little": (0.5, "R", 0.85, 45.5, "wall"),
    "asleep where no kernel counts": (0.0, "S", None, 9.5, "wall"),
    "at work where no kernel counts": (1.0, "R", None, 9.5, None),
    "starved where no kernel counts": (1.0, "R", None, 45.5, "starved"),
}
LIMITS = {"cpu_s": 2.0, "wall_s": 9.0, "starved_s": 45.0, "memory_bytes": None, "look_every_s": 99.0}


@pytest.fixture
def running_test(monkeypatch):
    """Makes a test of which a watcher sees the given usage, and sets the clock."""
    words, told = walls.pair_for_words()

    def make(used_s: float, states: str, share: float | None):
        monkeypatch.setattr(usage, "thread_states", lambda pids: [state.encode() for state in states])
        monkeypatch.setattr(usage, "processor_share", lambda pids: share)
        meter = usage.CpuMeter(None)
        monkeypatch.setattr(meter, "look", lambda pids: used_s)
        test = watch.RunningTest(1, words, LIMITS, list, meter)
        return test, lambda elapsed_s: monkeypatch.setattr(watch.time, "monotonic", lambda: test.forked + elapsed_s)

    yield make
    words.close()
    told.close()


@pytest.mark.parametrize("name", LOOKS)
def test_a_starved_program_is_not_scored(running_test, name):
    used_s, states, share, elapsed_s, decision = LOOKS[name]
    test, set_clock = running_test(used_s, states, share)
    test.began = test.forked
    set_clock(elapsed_s)
    assert test.look()[0] == decision


def test_a_program_that_never_began_is_not_scored(running_test):
    test, set_clock = running_test(0.0, "S", None)
    for elapsed_s, decision in ((20.0, None), (46.0, "starved")):
        set_clock(elapsed_s)
        assert test.look()[0] == decision


BURN = """
import os, signal, sys, threading, time
def burn(cpu_s):
    start = time.thread_time()
    while time.thread_time() - start < cpu_s: pass
"""


@contextmanager
def python(*lines: str) -> Iterator[subprocess.Popen]:
    """A process that has run the lines and waits for the end of its input."""
    program = "\n".join([BURN, *lines, "print(1, flush=True)", "sys.stdin.read()"])
    command = [sys.executable, "-I", "-S", "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process
        process.kill()


def test_a_thread_at_work_is_seen_while_the_first_one_sleeps():
    with python("threading.Thread(target=burn, args=(600,), daemon=True).start()") as child:
        pids = [str(child.pid)]
        while sorted(usage.thread_states(pids)) != [b"R", b"S"] or not usage.processor_share(pids):
            pass  # the first thread goes to sleep soon, and a busy machine may give neither a processor at once


def test_a_process_at_rest_has_no_processor():
    with python() as child:
        pids = [str(child.pid)]
        while usage.thread_states(pids) != [b"S"]:
            pass
        assert usage.processor_share(pids) == 0


def test_without_a_control_group_the_time_of_an_ended_child_stays_counted():
    meter, seen_s = usage.CpuMeter(None), 0.0
    with python("signal.signal(signal.SIGCHLD, signal.SIG_IGN)", "if os.fork() == 0: burn(0.3); os._exit(0)") as parent:
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
        while below := children.read_text().split():
            seen_s = meter.look([str(parent.pid), *below])
        assert meter.look([str(parent.pid)]) >= seen_s > 0.1


GROUPS = ["/sys/fs/cgroup/cpuacct", "/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup", "/sys/fs/cgroup/unified"]


@pytest.mark.parametrize("place", GROUPS)
def test_a_control_group_counts_children_that_nobody_waits_for(place):
    """Version 1 and version 2, each where this machine has it."""
    group = Group(2, *[Path(place, f"ablate-test-{os.getpid()}")] * 3)
    try:
        group.cpu.mkdir()
        used = group.cpu_usage
    except OSError:
        pytest.skip("no such hierarchy of control groups, or not ours")
    try:
        ignore = "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        burn = "for _ in range(3):\n    if os.fork() == 0: burn(0.1); os._exit(0)\ntry: os.wait()\nexcept OSError: pass"
        subprocess.run([sys.executable, "-c", BURN + ignore + burn], preexec_fn=group.join, check=True)
        assert usage.group_cpu_s(used) >= 0.3
    finally:
        os.close(used)
        group.remove()
