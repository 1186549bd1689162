"""Part f: honest programs on a busy machine must pass wherever they compute, though they wait past their wall limit."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ablate.types import Problem, TestCase
from ablate.verify.verifier import open_verifier
from benchmarks.faults.sandbox import settings
from benchmarks.faults.table import Trial, TrialFile

BURN = """import os, threading, time
def burn(cpu_s):
    start = time.thread_time()
    while time.thread_time() - start < cpu_s: pass
"""
PROGRAMS = {
    "in the first thread": "burn(0.4)",
    "in a thread": "t = threading.Thread(target=burn, args=(0.4,))\nt.start()\nt.join()",
    "in a pool of threads": "from concurrent.futures import ThreadPoolExecutor\n"
    "with ThreadPoolExecutor(8) as pool: list(pool.map(burn, [0.02] * 20))",
    "in a child": "if os.fork() == 0:\n    burn(0.4)\n    os._exit(0)\nos.wait()",
}
SEVEN = Problem("seven", "", (TestCase("", "7"),), "easy")
LOWEST = 19  # nice


@contextlib.contextmanager
def busy_cores() -> Iterator[None]:
    """Two processes per core that compute, at the priority of this process."""
    command = [sys.executable, "-I", "-S", "-c", "while True: pass"]
    spinning = [subprocess.Popen(command) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def run_busy(file: TrialFile, count: int, seed: int, work: Path) -> None:
    """``count`` runs of each program, in a process of the lowest priority."""
    with busy_cores():
        lowest = multiprocessing.get_context("fork").Process(target=run_programs, args=(file, count))
        lowest.start()
        lowest.join()


def run_programs(file: TrialFile, count: int) -> None:
    os.nice(LOWEST)
    with open_verifier(settings(workers=1, time_limit_s=1.0, wall_factor=0.5)) as verifier:
        for name, program in PROGRAMS.items():
            for _ in range(count):
                verdict = verifier.submit(replace(SEVEN), f"{BURN}{program}\nprint(7)").result()
                # Its machine may give a program nothing at all; that is an infrastructure error, and no fault of ours.
                is_right = verdict.passed or verdict.is_infrastructure_error
                outcome = verdict.kind.value if is_right else f"wrong: {verdict.kind.value}"
                waited = verdict.wall_s > 0.5 + 1.0
                file.append(Trial("sandbox", f"a busy machine, work {name}", waited, outcome, verdict.detail))
