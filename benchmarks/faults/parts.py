"""Part b: stop or kill one part of a run, storm it with signals, take its disk away; then start it again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.faults.kills import unbroken
from benchmarks.faults.runs import Attempt, records, run_directory, words_of
from benchmarks.faults.table import Trial, TrialFile

POLL_S = 1.0  # how often a strike looks whether the run has ended; a span wakes it at once
WAIT_S = 300.0  # longer than every limit that a run of this size has
STORM = 300
OVERRIDES = ("verify.time_limit_s=1",)
DISKS = {f"a disk of {size} MiB": (size, "single process") for size in (1, 3, 5, 8)}  # MiB
DISKS["a disk of 3 MiB, torchrun tp2"] = 3, "torchrun tp2"


@dataclass(frozen=True)
class Strike:
    """A signal to one part of a run, at the beginning of a span."""

    mode: str
    span: str
    number: int
    finds: Callable[[Attempt], list[int]]  # the processes that get the signal
    times: int = 1


def by_words(word: str, without: str = "\n\n") -> Callable[[Attempt], list[int]]:
    """The first process of the attempt whose command line contains ``word`` and not ``without``."""

    def found(attempt: Attempt) -> list[int]:
        lines = {pid: words_of(pid) for pid in attempt.processes()}
        return [pid for pid, line in lines.items() if word in line and without not in line][:1]

    return found


def other_rank(attempt: Attempt) -> list[int]:
    ranks = [pid for pid in attempt.processes() if " -m ablate.train" in words_of(pid)]
    return [pid for pid in ranks if pid not in (attempt.leader, attempt.process.pid)][:1]


STRIKES = {
    "SIGKILL, verifier supervisor": Strike(
        "single process", "wait_batch", signal.SIGKILL, by_words("import socket, sys")
    ),
    "SIGSTOP, verifier supervisor": Strike(
        "single process", "wait_batch", signal.SIGSTOP, by_words("import socket, sys")
    ),
    "SIGKILL, sandbox": Strike("single process", "wait_batch", signal.SIGKILL, by_words("bwrap")),
    "SIGSTOP, sandbox": Strike(
        "single process", "wait_batch", signal.SIGSTOP, by_words("/sandbox/server.py", without="bwrap")
    ),
    "SIGKILL, engine child": Strike("child engine", "wait_batch", signal.SIGKILL, by_words("EngineCore")),
    "SIGSTOP, engine child": Strike("child engine", "wait_batch", signal.SIGSTOP, by_words("EngineCore")),
    "SIGKILL, rank 1": Strike("torchrun tp2", "update", signal.SIGKILL, other_rank),
    "SIGSTOP, rank 1": Strike("torchrun tp2", "update", signal.SIGSTOP, other_rank),
    "SIGTERM to the whole process group, weight hand-off": Strike(
        "child engine", "hand_off", signal.SIGTERM, lambda run: [-run.process.pid]
    ),
    "SIGTERM storm": Strike("single process", "wait_batch", signal.SIGTERM, lambda run: [run.leader], STORM),
}


def run_parts(file: TrialFile, count: int, seed: int, work: Path) -> None:
    """Each strike and each disk until it is ``count`` times in the file."""
    trials = {name: partial(strike_once, name, strike, work) for name, strike in STRIKES.items()}
    if os.getuid() == 0:  # only root can mount
        trials |= {name: partial(full_disk, name, size, mode, work) for name, (size, mode) in DISKS.items()}
        trials["a read-only run directory"] = partial(read_only, "a read-only run directory", work)
    for name, trial in trials.items():
        done = sum(each.part == "parts" and each.fault == name for each in file.read())
        for _ in range(count - done):
            file.append(trial())


def strike_once(name: str, strike: Strike, work: Path) -> Trial:
    expected = unbroken(strike.mode, work)
    outputs = Path(tempfile.mkdtemp(prefix="fault-"))
    attempt = Attempt(outputs, outputs / "struck", strike.mode, OVERRIDES, may_fork=True)
    while attempt.process.poll() is None and ("begin", strike.span) not in attempt.new_events(POLL_S):
        pass
    victims = strike.finds(attempt)
    for _ in range(strike.times):
        for pid in victims:
            os.kill(pid, strike.number)
    started = time.monotonic()
    outcome = how_it_ended(attempt)
    detail = f"{time.monotonic() - started:.1f} s; {last_line(attempt)}"
    attempt.end()
    return Trial("parts", name, bool(victims), f"{outcome}, {continued(outputs, strike.mode, expected)}", detail)


def how_it_ended(attempt: Attempt) -> str:
    try:
        code = attempt.wait(WAIT_S)
    except subprocess.TimeoutExpired:
        return "hangs"
    if code == 0:
        return "finished"
    text = attempt.text()  # torchrun prints a traceback of its own when a rank has failed
    is_ours = text.count("Traceback (most recent call last)") > text.count("raise ChildFailedError")
    return f"ended with code {code}{', with a traceback' if is_ours else ''}"


def last_line(attempt: Attempt) -> str:
    errors = [line for line in attempt.text().splitlines() if "error" in line.lower() or "stop" in line]
    return errors[-1][:300] if errors else ""


def continued(outputs: Path, mode: str, expected: dict[str, bytes]) -> str:
    """Start the run again, and compare its records with those of a run without faults."""
    again = Attempt(outputs, Path(tempfile.mkdtemp(prefix="fault-")), mode, OVERRIDES, may_fork=True)
    try:
        code = again.wait()
    except subprocess.TimeoutExpired:
        again.end()
        return "then hangs"
    if code:
        return f"then code {code}: {last_line(again)[:120]}"
    is_equal = records(run_directory(outputs)) == expected
    shutil.rmtree(again.scratch)
    return "then equal" if is_equal else "then not equal"


def full_disk(name: str, size_mib: int, mode: str, work: Path) -> Trial:
    """Write to a disk of a few MiB; make it larger; start again."""
    outputs = Path(tempfile.mkdtemp(prefix="fault-"))
    mount(outputs, f"size={size_mib}m")
    attempt = Attempt(outputs, Path(tempfile.mkdtemp(prefix="fault-")), mode, OVERRIDES, may_fork=True)
    outcome = how_it_ended(attempt)
    is_hit = "no space" in attempt.text().lower()
    subprocess.run(["mount", "-o", "remount,size=200m", str(outputs)], check=True)
    ended = continued(outputs, mode, unbroken(mode, work))
    num_said = sum("no space is left" in line for line in attempt.text().splitlines())
    return Trial("parts", name, is_hit, f"{outcome}, {ended}", f"{num_said} sentences; {last_line(attempt)}")


def read_only(name: str, work: Path) -> Trial:
    """Make the disk of a run read-only while it samples; make it writable; start again."""
    outputs = Path(tempfile.mkdtemp(prefix="fault-"))
    mount(outputs, "size=200m")
    scratch = Path(tempfile.mkdtemp(prefix="fault-"))
    first = Attempt(outputs, scratch, "single process", OVERRIDES, may_fork=True)
    while first.process.poll() is None and ("begin", "wait_batch") not in first.new_events(POLL_S):
        pass
    first.process.kill()
    first.wait()
    first.end()
    subprocess.run(["mount", "-o", "remount,ro", str(outputs)], check=True)
    attempt = Attempt(outputs, Path(tempfile.mkdtemp(prefix="fault-")), "single process", OVERRIDES, may_fork=True)
    outcome = how_it_ended(attempt)
    subprocess.run(["mount", "-o", "remount,rw", str(outputs)], check=True)
    ended = continued(outputs, "single process", unbroken("single process", work))
    return Trial("parts", name, True, f"{outcome}, {ended}", last_line(attempt))


def mount(place: Path, options: str) -> None:
    """In this process's own mount namespace (see ``private_shared_memory``), so that it ends with the campaign."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=True)
