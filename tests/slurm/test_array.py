"""SLURM's part, on a real slurmctld and slurmd: tasks that end, are queued again, are cancelled, fail."""

from __future__ import annotations

import re
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OBJECTIVES = ["grpo", "dapo", "gspo", "gspo_plus"]
DEADLINE_S = 600

pytestmark = [pytest.mark.slurm]


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """A Python that runs the stand-in where ablate.train is asked for."""
    script = tmp_path_factory.mktemp("python") / "python"
    real, stand_in = shlex.quote(sys.executable), shlex.quote(str(Path(__file__).with_name("stand_in.py")))
    script.write_text(
        f'#!/usr/bin/env bash\n[ "$1 $2" = "-m ablate.train" ] && exec {real} {stand_in} "${{@:3}}"\nexec {real} "$@"\n'
    )
    script.chmod(0o755)
    return script


@pytest.fixture(scope="module")
def array(slurm, python, tmp_path_factory):
    """Submit the four objectives, ask dapo to stop, cancel gspo, and wait for the end."""
    directory = tmp_path_factory.mktemp("array")
    settings = {
        "ABLATE_PYTHON": str(python),
        "ABLATE_LOGS": str(directory / "logs"),
        "ABLATE_CPUS_PER_TASK": "1",
        "ABLATE_TIME_LIMIT": "10",
    }
    words = ["experiment=tiny", "seed=0", f"paths.outputs={directory / 'outputs'}"]
    submitted = slurm.run("bash", str(ROOT / "slurm" / "submit.sh"), *words, **settings)
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    job = re.search(r"^job (\d+): 4 tasks", submitted.stdout, flags=re.MULTILINE)[1]
    wait_for(lambda: events(directory, "dapo") and events(directory, "gspo"))
    slurm.run("scancel", "--signal=USR1", "--batch", f"{job}_{OBJECTIVES.index('dapo')}")
    slurm.run("scancel", f"{job}_{OBJECTIVES.index('gspo')}")
    wait_for(lambda: "SIGUSR1" in events(directory, "dapo"))
    wait_for(lambda: slurm.states(job)[str(OBJECTIVES.index("dapo"))] == "PENDING")
    slurm.start_now(f"{job}_{OBJECTIVES.index('dapo')}")
    states = slurm.wait(job, DEADLINE_S)
    return directory, job, {name: states[str(index)] for index, name in enumerate(OBJECTIVES)}


def events(directory: Path, objective: str) -> list[str]:
    path = directory / "outputs" / objective
    return path.read_text().split() if path.exists() else []


def log(directory: Path, job: str, objective: str) -> str:
    return (directory / "logs" / f"{job}_{OBJECTIVES.index(objective)}.log").read_text()


def wait_for(is_true: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not is_true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def test_each_task_runs_its_own_cell_to_the_end(array):
    directory, _, states = array
    assert states["grpo"] == "COMPLETED"
    assert events(directory, "grpo") == ["started", "done"]


def test_a_task_that_is_asked_to_stop_is_queued_again_and_appends_to_its_log(array):
    directory, job, states = array
    assert states["dapo"] == "COMPLETED"
    assert events(directory, "dapo") == ["started", "SIGUSR1", "started", "done"]
    assert "exit code 75: queueing the task again" in log(directory, job, "dapo")


def test_a_cancelled_task_is_told_and_not_queued_again(array):
    directory, job, states = array
    assert states["gspo"] == "CANCELLED"
    assert events(directory, "gspo") == ["started", "SIGTERM"]
    assert "queueing the task again" not in log(directory, job, "gspo")


def test_a_failing_task_says_why_and_stops_no_other(array):
    directory, job, states = array
    assert states["gspo_plus"] == "FAILED"
    assert "no such thing as a free lunch" in log(directory, job, "gspo_plus")
    assert "queueing the task again" not in log(directory, job, "gspo_plus")
