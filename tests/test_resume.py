"""A run killed at any moment and started again leaves the records of an unbroken run, bit for bit, and no process.

At lag 0 and at lag 1, where the next batch is sampled, and an evaluation goes on, while the trainer works.

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

AHEAD = [
    "rollout.lag=1",
    "context=two_stages",  # the lag begins anew with the second stage
    "context.stages=[{length:128,steps:3},{length:160,steps:3}]",
    "eval.every=2",  # not only at the end of a stage, where an evaluation is waited for
    "eval.contexts=[{length:160,every:2}]",
]


def command(outputs: Path, *overrides: str) -> list[str]:
    return [sys.executable, "-m", "ablate.train", f"paths.outputs={outputs}", *SHORT, *overrides]


def start(outputs: Path, *overrides: str) -> subprocess.Popen:
    # Its own session, so that a kill takes the sandbox's helpers and vLLM along and nothing else.
    return subprocess.Popen(
        command(outputs, *overrides),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run_of(outputs: Path) -> RunDirectory:
    return RunDirectory(outputs / "tiny" / "dapo" / "seed0")


def finish(outputs: Path, *overrides: str) -> RunDirectory:
    result = subprocess.run(command(outputs, *overrides), capture_output=True, text=True, timeout=DEADLINE_S)
    assert result.returncode == 0, result.stdout + result.stderr
    return run_of(outputs)


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
    run = run_of(unbroken_outputs)
    found = records(run)
    assert [row["step"] for row in run.steps.metrics()] == list(range(7))
    assert len(found) == 8
    return found


@pytest.mark.timeout(900)
def test_killed_at_chosen_moments_of_one_run(tmp_path, unbroken):
    run = run_of(tmp_path)
    at_once, asynchronous = (
        (run, tmp_path, "single process", *SHORT),
        (run, tmp_path, "asynchronous checkpoints", *SHORT),
    )
    kill_when(lambda: run.steps.rollouts_file(1).exists(), *at_once)
    kill_while_a_checkpoint_is_written(*asynchronous, "checkpoint.asynchronous=true")
    kill_while_a_checkpoint_is_written(*at_once)
    assert records(finish(tmp_path)) == unbroken
    assert len(run.manifest.read()["attempts"]) >= 4


@pytest.mark.timeout(900)
def test_asked_to_stop_during_an_evaluation_it_leaves_at_once_and_loses_nothing(tmp_path, unbroken):
    for attempt in range(5):  # an evaluation is short, and this process may look too late
        outputs = tmp_path / str(attempt)
        run = run_of(outputs)
        process = start(outputs)
        while process.poll() is None and not run.steps.eval_samples_file(3, 160).exists():
            time.sleep(0.005)
        ask_to_stop(process, run, signal.SIGUSR1)
        if len(run.steps.metrics()) == 3 and run.steps.rollouts_file(3).exists():
            break
    else:
        pytest.fail("every signal came too late")
    assert records(finish(outputs)) == unbroken


def ask_to_stop(process: subprocess.Popen, run: RunDirectory, number: int) -> None:
    os.kill(process.pid, number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 75, output
    assert run.state().name == "preempted"
    assert "checkpoint written after step" in output


@pytest.mark.timeout(900)
def test_at_lag_1_killed_and_asked_to_stop_it_leaves_the_records_of_an_unbroken_run(tmp_path, tiny_model):
    unbroken = finish(tmp_path / "unbroken", *AHEAD)
    spans = [span for span in unbroken.trace.spans() if span["name"] == "sample"]
    versions = {
        span["args"]["step"]: span["args"]["version"] for span in spans if span["args"]["purpose"] == "training"
    }
    assert versions == {1: 0, 2: 0, 3: 1, 4: 3, 5: 3, 6: 4}, "max(first step of the stage - 1, s - 2)"

    outputs = tmp_path / "broken"
    run = run_of(outputs)
    evaluated = run.steps.eval_samples_file(2, 160)
    kill_when(evaluated.exists, run, outputs, "single process", *SHORT, *AHEAD)
    process = start(outputs, *AHEAD)
    while process.poll() is None and not (run.checkpoints_path / "step_000004").exists():
        time.sleep(0.005)
    ask_to_stop(process, run, signal.SIGTERM)
    assert not run.steps.rollouts_file(6).exists(), "the signal came too late"
    assert records(finish(outputs, *AHEAD)) == records(unbroken)


def test_a_finished_cell_is_not_run_again(unbroken_outputs):
    run = run_of(unbroken_outputs)
    before = run.manifest.path.read_bytes()
    result = subprocess.run(command(unbroken_outputs), capture_output=True, text=True, timeout=60)
    assert "done already" in result.stdout
    assert run.manifest.path.read_bytes() == before
    assert json.loads(before)["status"] == "done"
