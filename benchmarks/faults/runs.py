"""Real runs to break: the shortest configuration in each mode, its spans, its records, and what a kill leaves."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import stat
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ablate.records import RunDirectory
from ablate.verify.inside import kernel
from benchmarks.faults.forked import Forked

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 1200.0
LEFT_AFTER_S = 2.0  # what still lives then was left behind
GONE_AFTER_S = 120.0
SPAN_LOG_BYTES = 1 << 20
SHORTEST = (
    "experiment=tiny",
    "setting=arithmetic",
    "objective=dapo",  # refills: the most random numbers are in play
    "context.steps=3",
    "rollout.prompts_per_step=2",
    "rollout.samples_per_prompt=4",
    "eval.samples_per_problem=1",
    "eval.pass_at=[1]",
    "eval.contexts=[{length:160,every:1}]",
    "checkpoint.every=1",
    "checkpoint.keep_steps=[1]",
    "logging.display=plain",
    "logging.wandb=disabled",
)
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
MODES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {  # the launcher's part of the command, overrides
    "single process": ((), ()),
    "child engine": ((), ("rollout.engine.placement=child",)),
    "torchrun tp2": (TORCHRUN, ("parallel=tp2",)),
    "asynchronous checkpoints": ((), ("checkpoint.asynchronous=true",)),
    "lag 1": ((), ("rollout.lag=1",)),
    "lag 2": ((), ("rollout.lag=2",)),
    "fork of lag 1": ((), ("rollout.lag=1",)),
}
PARENTS = {"fork of lag 1": "lag 1"}  # the mode of the run without faults that is forked after its first step

ATTEMPTS: list[Attempt] = []  # all that this process started


def command(mode: str, outputs: Path, *overrides: str) -> list[str]:
    launcher, _ = MODES[mode]
    return [sys.executable, *launcher, "-m", "ablate.train", *words(mode, outputs, *overrides)]


def words(mode: str, outputs: Path, *overrides: str) -> list[str]:
    _, of_mode = MODES[mode]
    return [f"paths.outputs={outputs}", *SHORTEST, *of_mode, *overrides]


def run_directory(outputs: Path) -> RunDirectory:
    return RunDirectory(outputs / "tiny" / "dapo" / "seed0")


def records(run: RunDirectory) -> dict[str, bytes]:
    """Every record that must be equal; seconds live in trace.json and the manifest, and may differ."""
    steps = run.steps
    paths = [steps.metrics_path, steps.eval_path, run.selected_path, *sorted(steps.rollouts_path.glob("*"))]
    return {path.name: path.read_bytes() for path in paths if path.exists()}


def private_shared_memory() -> None:
    """As root: give this process and its children a /dev/shm of their own, so that its files are ours."""
    if os.getuid() == 0:
        kernel.unshare(kernel.CLONE_NEWNS)
        kernel.mount(None, b"/", None, kernel.MS_REC | kernel.MS_PRIVATE)
        kernel.mount(b"tmpfs", b"/dev/shm", b"tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV)


@dataclass
class Attempt:
    """One process (or one torchrun) that works on a run, and the spans it has begun."""

    outputs: Path
    scratch: Path
    mode: str
    overrides: tuple[str, ...] = ()
    may_fork: bool = False  # see forked.py; torchrun starts its ranks itself
    process: subprocess.Popen | Forked = field(init=False)
    open_spans: list[str] = field(default_factory=list, init=False)
    leader: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.scratch.mkdir(parents=True, exist_ok=True)
        self.span_log = self.scratch / "spans"
        os.mkfifo(self.span_log)
        self.spans = os.open(self.span_log, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.fcntl(self.spans, fcntl.F_SETPIPE_SZ, SPAN_LOG_BYTES)  # nobody reads while a run is waited for
        own = {"ABLATE_SPAN_LOG": str(self.span_log), "TMPDIR": str(self.scratch), "OMP_NUM_THREADS": "1"}
        self.output = (self.scratch / "output").open("w")
        self.process = self.started({**os.environ, **own})
        ATTEMPTS.append(self)

    def started(self, environment: dict[str, str]) -> subprocess.Popen | Forked:
        if self.may_fork and not MODES[self.mode][0]:
            return Forked(words(self.mode, self.outputs, *self.overrides), self.output, environment, ROOT)
        return subprocess.Popen(
            command(self.mode, self.outputs, *self.overrides),
            stdout=self.output,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=ROOT,
            start_new_session=True,
        )

    def new_events(self, timeout_s: float = 0.0) -> list[tuple[str, str]]:
        """The lines that the span log got since the last look, as (event, span); ``open_spans`` follows them.

        Args:
            timeout_s: how long to wait for the first one.
        """
        select.select([self.spans], [], [], timeout_s)
        events = []
        for line in self._new_lines():
            event, name, _, pid = line.split()
            self.leader = int(pid)
            self.open_spans.append(name) if event == "begin" else self.open_spans.remove(name)
            events.append((event, name))
        return events

    def _new_lines(self) -> list[str]:
        """A run writes each line at once, so the pipe holds whole lines."""
        text = b""
        with suppress(BlockingIOError):
            while piece := os.read(self.spans, SPAN_LOG_BYTES):
                text += piece
        return text.decode().splitlines()

    def wait(self, timeout_s: float = DEADLINE_S) -> int:
        try:
            return self.process.wait(timeout_s)
        finally:
            self.output.close()

    def text(self) -> str:
        return (self.scratch / "output").read_text(errors="replace")

    def processes(self) -> dict[int, str]:
        """Every living process of this attempt, by what it inherited or who started it: process id -> start time."""
        found = {pid: started(pid) for pid in [self.process.pid, *descendants(self.process.pid)]}
        mark = f"ABLATE_SPAN_LOG={self.span_log}".encode()
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (entry / "environ").read_bytes():
                    found[int(entry.name)] = started(int(entry.name))
            except OSError:
                continue  # ended, or not ours
        return {pid: start for pid, start in found.items() if start}

    def sockets(self) -> list[str]:
        paths = [path for path in self.scratch.rglob("*") if not path.is_symlink()]
        return [str(path.relative_to(self.scratch)) for path in paths if stat.S_ISSOCK(path.lstat().st_mode)]

    def end(self) -> None:
        """Remove what is left, so that the next trial is not disturbed."""
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        if self.process.poll() is None:
            self.process.wait()
        self.output.close()
        if self.spans >= 0:
            os.close(self.spans)
            self.spans = -1


def end_all() -> None:
    """End the attempts that still live when a campaign is interrupted."""
    for attempt in ATTEMPTS:
        if attempt.process.poll() is None:
            attempt.end()


def started(pid: int) -> str:
    """The start time of a process that runs, as the kernel counts it; empty for one that has ended.

    A process without memory has been killed and runs no program any more: on a busy machine the kernel needs time to
    finish it. What it still holds, such as the lock, is looked for by itself.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" or fields[20] == "0" else fields[19]


def descendants(pid: int) -> list[int]:
    try:
        text = " ".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children"))
    except OSError:
        return []
    return [below for child in map(int, text.split()) for below in (child, *descendants(child))]


def words_of(pid: int) -> str:
    """The command line of a process."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return "?"


def threads_of(pid: int) -> str:
    """What each thread of a process waits for in the kernel: a disk keeps a killed process until it has written."""
    tasks = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with suppress(OSError):
            state = (task / "stat").read_text().rpartition(")")[2].split()[0]
            tasks.append(f"{(task / 'comm').read_text().strip()} {state} {(task / 'wchan').read_text()}")
    return ", ".join(tasks)


def described(pid: int) -> str:
    return words_of(pid)[:90]


@dataclass(frozen=True)
class Remains:
    """What was left two seconds after a kill, in words, and how long it took until no process was left."""

    left: tuple[str, ...]
    clean_s: float

    @property
    def outcome(self) -> str:
        return "clean" if not self.left else "left " + ", ".join(sorted({word.split(":")[0] for word in self.left}))


def remains_of(attempt: Attempt, before: dict[int, str], shm_before: set[str], killed_at: float) -> Remains:
    """Look for what outlives a killed run; processes are waited for up to half a minute.

    Args:
        before: ``attempt.processes()`` just before the kill; the sandboxes among them inherit nothing.
    """
    time.sleep(max(0.0, killed_at + LEFT_AFTER_S - time.monotonic()))
    left, alive = [], living(attempt, before)
    for pid in alive:
        is_launcher = pid == attempt.process.pid != attempt.leader
        left.append("torchrun itself: it has nothing of the run" if is_launcher else f"process: {described(pid)}")
    if run_directory(attempt.outputs).owner.is_locked():
        left.append(f"lock: of the run directory; threads of the leader: {threads_of(attempt.leader)}")
    left += [f"socket: {name}" for name in attempt.sockets()]
    left += [f"shared memory: {name}" for name in sorted(shared_memory() - shm_before)]
    groups = [
        path for path in Path("/sys/fs/cgroup").rglob("ablate-*") if path.name.rpartition("-")[2] in map(str, before)
    ]
    left += [f"control group: {path}" for path in groups]
    clean_s = LEFT_AFTER_S
    while alive and clean_s < GONE_AFTER_S:
        time.sleep(0.2)
        alive, clean_s = living(attempt, before), time.monotonic() - killed_at
    return Remains(tuple(left), clean_s if not alive else float("inf"))


def shared_memory() -> set[str]:
    return {path.name for path in Path("/dev/shm").iterdir()}


def living(attempt: Attempt, before: dict[int, str]) -> list[int]:
    attempt.process.poll()
    now = attempt.processes()
    return [pid for pid in {**before, **now} if started(pid) == {**before, **now}[pid]]
