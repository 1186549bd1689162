"""A run killed at any moment and started again leaves the records of an unbroken run, bit for bit, and no process.

``make campaign`` kills many more runs, at random moments and in every mode.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from killing import kill_when, kill_while_a_checkpoint_is_written

from ablate.records import RunDirectory

DEADLINE_S = 240
SHORT = [
    "experiment=tiny",
    "setting=arithmetic",
    "objective=dapo",  # refills: the most random numbers are in play
    "context.steps=6",
    "rollout.prompts_per_step=4",
    "rollout.samples_per_prompt=4",
    "eval.every=3",
    "eval.samples_per_problem=2",
    "eval.pass_at=[1]",
    "eval.contexts=[{length:160,every:3}]",
    "checkpoint.every=2",
    "logging.display=plain",
    "logging.wandb=disabled",
]


def command(outputs: Path) -> list[str]:
    return [sys.executable, "-m", "ablate.train", f"paths.outputs={outputs}", *SHORT]


def start(outputs: Path) -> subprocess.Popen:
    # Its own session, so that a kill takes the sandbox's helpers and vLLM along and nothing else.
    return subprocess.Popen(
        command(outputs), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def finish(outputs: Path) -> RunDirectory:
    result = subprocess.run(command(outputs), capture_output=True, text=True, timeout=DEADLINE_S)
    assert result.returncode == 0, result.stdout + result.stderr
    return RunDirectory(outputs / "tiny" / "dapo" / "seed0")


def records(run: RunDirectory) -> dict[str, bytes]:
    """Every record that must be equal; seconds live in trace.json and the manifest, and may differ."""
    paths = [run.steps.metrics_path, run.steps.eval_path, *sorted(run.steps.rollouts_path.iterdir())]
    return {path.name: path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def unbroken_outputs(tmp_path_factory, tiny_model) -> Path:
    outputs = tmp_path_factory.mktemp("unbroken")
    finish(outputs)
    return outputs


@pytest.fixture(scope="module")
def unbroken(unbroken_outputs) -> dict[str, bytes]:
    run = RunDirectory(unbroken_outputs / "tiny" / "dapo" / "seed0")
    found = records(run)
    assert [row["step"] for row in run.steps.metrics()] == list(range(7))
    assert len(found) == 8
    return found


@pytest.mark.timeout(900)
def test_killed_at_chosen_moments_of_one_run(tmp_path, unbroken):
    run = RunDirectory(tmp_path / "tiny" / "dapo" / "seed0")
    at_once, asynchronous = (
        (run, tmp_path, "single process", *SHORT),
        (run, tmp_path, "asynchronous checkpoints", *SHORT),
    )
    kill_when(lambda: run.steps.rollouts_file(1).exists(), *at_once)
    kill_while_a_checkpoint_is_written(*at_once)
    kill_while_a_checkpoint_is_written(*asynchronous, "checkpoint.asynchronous=true")
    kill_when(lambda: run.steps.rollouts_file(6).exists(), *at_once)
    assert records(finish(tmp_path)) == unbroken
    assert len(run.manifest.read()["attempts"]) >= 5


# Each moment: what begins it, and what must not exist if the process stopped before it was over.
STOPS = {
    "during an evaluation": (
        signal.SIGUSR1,
        lambda run: run.steps.eval_samples_file(3, 160).exists(),
        lambda run: len(run.steps.metrics()) == 3 and run.steps.rollouts_file(3).exists(),
    ),
    "during a collection": (
        signal.SIGTERM,
        lambda run: (run.checkpoints_path / "step_000004").exists(),
        lambda run: len(run.steps.metrics()) == 5 and not run.steps.rollouts_file(5).exists(),
    ),
}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("moment", STOPS)
def test_asked_to_stop_it_leaves_at_once_and_loses_nothing(moment, tmp_path, unbroken):
    number, has_begun, is_before_its_end = STOPS[moment]
    for attempt in range(5):  # a moment is short, and this process may look too late
        outputs = tmp_path / str(attempt)
        run = RunDirectory(outputs / "tiny" / "dapo" / "seed0")
        process = start(outputs)
        while process.poll() is None and not has_begun(run):
            time.sleep(0.005)
        os.kill(process.pid, number)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 75, output
        assert run.state().name == "preempted"
        assert "checkpoint written after step" in output
        if is_before_its_end(run):
            break
    else:
        pytest.fail("every signal came too late")
    assert records(finish(outputs)) == unbroken


def test_a_finished_cell_is_not_run_again(unbroken_outputs):
    run = RunDirectory(unbroken_outputs / "tiny" / "dapo" / "seed0")
    before = run.manifest.path.read_bytes()
    result = subprocess.run(command(unbroken_outputs), capture_output=True, text=True, timeout=60)
    assert "done already" in result.stdout
    assert run.manifest.path.read_bytes() == before
    assert json.loads(before)["status"] == "done"
