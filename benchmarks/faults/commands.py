"""Part g: SIGKILL a command that is no run at a random moment, look at what it leaves, and repeat the command."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.curate import write_deepcoder, write_livecodebench
from benchmarks.faults.kills import unbroken, unbroken_outputs
from benchmarks.faults.runs import DEADLINE_S, LEFT_AFTER_S, ROOT, SHORTEST, described, run_directory, started
from benchmarks.faults.table import Trial, TrialFile

NUM_PROBLEMS = 100  # of the curation
SERVER_S = 60.0  # a server is killed within its first minute: while it starts, or when it is ready


@dataclass(frozen=True)
class Command:
    """Words after ``python -m`` for an empty directory, and the files in it that must be equal when it is repeated."""

    words: Callable[[Path, Path], list[str]]  # of (directory, the unbroken run)
    results: tuple[str, ...]  # patterns; none: the command does not end by itself


def warm_start(directory: Path, run: Path) -> list[str]:
    short = "model.build.lessons=[{steps:40,batch_size:16,noise:{}}]"
    words = [f"paths.outputs={directory}", f"paths.cache={directory}/cache", *SHORTEST, short, "context.steps=1"]
    return ["ablate.train", *words]


def export(directory: Path, run: Path) -> list[str]:
    return ["ablate.export", f"checkpoint={run}", f"out={directory}/exported"]


def serve(directory: Path, run: Path) -> list[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    model = next(path for path in (Path(os.environ["ABLATE_CACHE"])).glob("tiny-*"))
    return ["ablate.serve", "1", "0", "run=true", f"port={port}", "experiment=tiny", f"model.path={model}"]


def report(directory: Path, run: Path) -> list[str]:
    shutil.copytree(run.parents[1], directory / "tiny", dirs_exist_ok=True)
    return ["ablate.report", "experiment=tiny", f"paths.outputs={directory}", "cell=dapo", "seed=0"]


def curate(directory: Path, run: Path) -> list[str]:
    if not (directory / "deepcoder").exists():
        write_deepcoder(directory / "deepcoder", NUM_PROBLEMS)
        write_livecodebench(directory / "livecodebench")
    sources = [f"source.{name}={directory / name}" for name in ("deepcoder", "livecodebench")]
    return ["ablate.curate", *sources, "references.run=false", f"out={directory}/curated"]


def pass_counts(directory: Path, run: Path) -> list[str]:
    words = [f"checkpoint={run}", "eval=pass_counts", "eval.samples_per_problem=2", "eval.pass_at=[1]"]
    return ["ablate.evaluate", *words, f"out={directory}/counts.parquet"]


COMMANDS = {
    "warm start": Command(warm_start, ("cache/*/*", "tiny/*/*/metrics.jsonl")),
    "export": Command(export, ("exported/*",)),
    "servers": Command(serve, ()),
    "report": Command(report, ("tiny/report/table.md", "tiny/report/scores.csv")),
    "curation": Command(curate, ("curated/*/*", "curated/rejected.jsonl")),
    "pass counts": Command(pass_counts, ("counts.parquet",)),
}


def run_commands(file: TrialFile, count: int, seed: int, work: Path) -> None:
    """Kill every command until it was killed ``count`` times."""
    unbroken("single process", work)
    run = run_directory(unbroken_outputs("single process", work)).path
    draw = random.Random(f"{seed}/{time.time_ns()}")
    for name, command in COMMANDS.items():
        done = sum(trial.part == "commands" and trial.fault == name for trial in file.read())
        trial = partial(kill_once, name, command, run) if done < count else None
        whole = finished(command, run) if trial and command.results else (SERVER_S, {})
        for _ in range(count - done):
            file.append(trial(*whole, draw))


def start(command: Command, directory: Path, run: Path) -> subprocess.Popen:
    environment = {**os.environ, "TMPDIR": str(directory / "tmp"), "ABLATE_FAULT": str(directory)}
    (directory / "tmp").mkdir(parents=True, exist_ok=True)
    log = (directory / "tmp" / "log").open("a")
    words = [sys.executable, "-m", *command.words(directory, run)]
    environment.setdefault("ABLATE_SERVER_TOKEN", "secret")
    return subprocess.Popen(words, stdout=log, stderr=log, env=environment, cwd=ROOT, start_new_session=True)


def results(command: Command, directory: Path) -> dict[str, bytes]:
    paths = sorted(path for pattern in command.results for path in directory.glob(pattern) if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in paths}


def finished(command: Command, run: Path) -> tuple[float, dict[str, bytes]]:
    """The seconds and the results of a command without faults."""
    directory = Path(tempfile.mkdtemp(prefix="fault-"))
    began = time.monotonic()
    process = start(command, directory, run)
    if process.wait(DEADLINE_S):
        raise RuntimeError((directory / "tmp" / "log").read_text()[-2000:])
    return time.monotonic() - began, results(command, directory)


def kill_once(
    name: str, command: Command, run: Path, seconds: float, expected: dict[str, bytes], draw: random.Random
) -> Trial:
    directory = Path(tempfile.mkdtemp(prefix="fault-"))
    process = start(command, directory, run)
    try:
        process.wait(seconds * draw.random())
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    is_hit = process.wait() == -signal.SIGKILL
    time.sleep(LEFT_AFTER_S)
    left = {pid: described(pid) for pid in living(directory)}
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    outcome = "left process" if left else "clean"
    if command.results:
        again = start(command, directory, run).wait(DEADLINE_S)
        is_equal = again == 0 and results(command, directory) == expected
        hidden = [path.name for path in directory.rglob(".*") if path.suffix == ".unfinished" or "-" in path.suffix]
        outcome += ", then equal" if is_equal else f", then not equal (code {again})"
        outcome += f", scratch {hidden}" if hidden and is_equal else ""
    if "then not" not in outcome:
        shutil.rmtree(directory)
    return Trial("commands", name, is_hit, outcome, "; ".join(left.values()))


def living(directory: Path) -> list[int]:
    """The processes that inherited a trial's environment."""
    mark, found = f"ABLATE_FAULT={directory}".encode(), []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (entry / "environ").read_bytes() and started(int(entry.name)):
                found.append(int(entry.name))
        except OSError:
            continue  # ended, or not ours
    return found
