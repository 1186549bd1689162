"""SIGKILL the leader of a real run, and no other process; nothing that the run started may outlive it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import forks

from ablate.records import RunDirectory
from benchmarks.faults.runs import DEADLINE_S, GONE_AFTER_S, MODES, ROOT, Attempt, command, described, living


class ForkedAttempt(Attempt):
    """One process is forked from the process that has made the session's imports; torchrun starts its ranks itself."""

    def started(self, environment: dict[str, str]) -> forks.Fork | subprocess.Popen:
        if MODES[self.mode][0]:
            return super().started(environment)
        _, *words = command(self.mode, self.outputs, *self.overrides)
        return forks.Fork(words, output=self.output, env=environment, cwd=ROOT)


def kill_when(is_time: Callable[[], bool], run: RunDirectory, outputs: Path, mode: str, *overrides: str) -> None:
    """Start the run, SIGKILL its leader alone when ``is_time``, and wait until nothing of the run is left."""
    scratch = Path(tempfile.mkdtemp(prefix="kill-"))  # vLLM's sockets are here, and the path of a socket must be short
    attempt = ForkedAttempt(outputs, scratch, mode, overrides)
    try:
        deadline = time.monotonic() + DEADLINE_S
        while not is_time():
            assert attempt.process.poll() is None, attempt.text()
            assert time.monotonic() < deadline, attempt.text()
            time.sleep(0.001)
        attempt.new_events()
        os.kill(attempt.leader, signal.SIGSTOP)  # it starts no process while its processes are listed
        started = attempt.processes()
        os.kill(attempt.leader, signal.SIGKILL)
        deadline = time.monotonic() + GONE_AFTER_S
        while left := living(attempt, started):
            assert time.monotonic() < deadline, [described(pid) for pid in left]
            time.sleep(0.1)
    finally:
        attempt.end()
        shutil.rmtree(scratch)
    assert not run.owner.is_locked()


def kill_while_a_checkpoint_is_written(run: RunDirectory, outputs: Path, mode: str, *overrides: str) -> None:
    """As ``kill_when``. The writing takes a moment, and the kill may come late: then the next checkpoint is tried."""
    for _ in range(3):
        for leftover in run.checkpoints_path.glob("*.partial"):
            shutil.rmtree(leftover)
        kill_when(lambda: any(run.checkpoints_path.glob("*.partial/*.distcp")), run, outputs, mode, *overrides)
        if any(run.checkpoints_path.glob("*.partial")):
            return
    raise AssertionError("every kill came after the checkpoint was written")
