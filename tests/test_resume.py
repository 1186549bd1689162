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

import forks
import pytest
from killing import kill_when, kill_while_a_checkpoint_is_written

from ablate.records import RunDirectory

DEADLINE_S = 1200
SHORT = [
    "experiment=tiny",
    "setting=arithmetic",
    "seed=5",
    "objective=dapo",  # refills: the most random numbers are in play
    "context=two_stages",
    "context.steps=3",
    "context.stages=[{length:128,steps:3},{length:160,steps:2}]",
    "rollout.prompts_per_step=4",
    "rollout.samples_per_prompt=4",
    "rollout.engine.kv_cache_gib=0.125",
    "optim.lr=0.001",  # too high: the last checkpoint of a stage is not its best
    "eval.at_start=false",
    "eval.every=2",
    "eval.samples_per_problem=1",
    "eval.pass_at=[1]",
    "eval.contexts=[{length:160,every:2},{length:320,every:0}]",
    "checkpoint.every=1",
    "logging.display=plain",
    "logging.wandb=disabled",
]
EVALUATED = (2, 3, 4, 5)  # every second step, and the last of each stage

AHEAD = [
    "rollout.lag=1",  # the lag begins anew with the second stage
    "context.stages=[{length:128,steps:3},{length:160,steps:3}]",
    "eval.at_start=true",
    "eval.contexts=[{length:160,every:2}]",
    "optim.lr=3e-4",
    "checkpoint.every=2",
    "data.history={groups:1,rest_steps:3}",  # what was drawn before decides what is drawn
    "rollout.max_draws=12",
]


def words(outputs: Path, *overrides: str) -> list[str]:
    return ["-m", "ablate.train", f"paths.outputs={outputs}", *SHORT, *overrides]


def start(outputs: Path, *overrides: str) -> forks.Fork:
    return forks.Fork(words(outputs, *overrides))


def run_of(outputs: Path) -> RunDirectory:
    return RunDirectory(outputs / "tiny" / "dapo" / "seed5")


def finish(outputs: Path, *overrides: str) -> str:
    """Let the run end; return what it printed."""
    result = forks.run(words(outputs, *overrides), timeout=DEADLINE_S)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


def records(outputs: Path) -> dict[str, bytes]:
    """Every record that must be equal; seconds live in trace.json and the manifest, and may differ."""
    run = run_of(outputs)
    paths = [run.steps.metrics_path, run.steps.eval_path, run.selected_path, *sorted(run.steps.rollouts_path.iterdir())]
    return {path.name: path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, tiny_model) -> tuple[Path, str]:
    """Outputs of an unbroken run, which the ordinary command made, and what it printed."""
    outputs = tmp_path_factory.mktemp("unbroken")
    command = [sys.executable, *words(outputs)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S)
    assert result.returncode == 0, result.stdout + result.stderr
    return outputs, result.stdout


def test_a_stage_continues_from_the_best_checkpoint_of_the_one_before(unbroken):
    outputs, printed = unbroken
    run = run_of(outputs)
    metrics = {row["step"]: row for row in run.steps.metrics()}
    assert list(metrics) == [1, 2, 3, 4, 5]
    scores = {step: row["eval/pass@1/160"] for step, row in metrics.items() if "eval/pass@1/160" in row}
    assert tuple(scores) == EVALUATED
    assert scores[2] > scores[3], "with this learning rate the model gets worse, or the test tests nothing"
    assert "stage 2 continues from step 2" in printed


def test_the_selected_checkpoint_is_the_best_of_the_last_stage_and_is_evaluated_at_every_context(unbroken):
    run = run_of(unbroken[0])
    scores = {row["step"]: row.get("eval/pass@1/160") for row in run.steps.metrics()}
    assert scores[4] > scores[5], "with this learning rate the model gets worse, or the test tests nothing"
    selected = run.selected()
    assert selected["context"] == 160, "selected at one context in every stage"
    assert selected["scores"] == {"4": scores[4], "5": scores[5]}
    assert selected["step"] == 4
    at_320 = {row.step for row in run.steps.eval_rows() if row.context == 320}
    assert at_320 == {3, 5, 4}, "at the end of a stage, and at the selected checkpoint"


@pytest.mark.timeout(3600)
def test_one_run_killed_at_chosen_moments_and_asked_to_stop_leaves_the_records_of_an_unbroken_one(tmp_path, unbroken):
    run, single = run_of(tmp_path), (tmp_path, "single process", *SHORT)
    asynchronous = (tmp_path, "asynchronous checkpoints", *SHORT, "checkpoint.asynchronous=true")
    kill_while_a_checkpoint_is_written(run, *asynchronous)
    kill_while_a_checkpoint_is_written(run, *single)
    stop_during_an_evaluation(run, tmp_path)
    step = next(step for step in (4, 5) if not run.steps.rollouts_file(step).exists())  # of the second stage
    kill_when(run.steps.rollouts_file(step).exists, run, *single)
    manifest = run.manifest.read()
    manifest["attempts"][-1]["cpu"] = "another CPU"
    run.manifest.path.write_text(json.dumps(manifest))
    assert finish(tmp_path).count("made on another CPU, ") == 1
    assert records(tmp_path) == records(unbroken[0])
    assert len(run.manifest.read()["attempts"]) >= 5


def stop_during_an_evaluation(run: RunDirectory, outputs: Path) -> None:
    """Ask the run to stop while it evaluates. It leaves at once: the step of the evaluation is not recorded yet.

    An evaluation is short, and this process may look too late: then the next one is tried.
    """
    while (step := next(step for step in EVALUATED if step > last_recorded(run))) < EVALUATED[-1]:
        process = start(outputs)
        while process.poll() is None and not run.steps.eval_samples_file(step, 160).exists():
            time.sleep(0.005)
        ask_to_stop(process, run, signal.SIGUSR1)
        if last_recorded(run) == step - 1 and run.steps.rollouts_file(step).exists():
            return
    pytest.fail("every signal came too late")


def last_recorded(run: RunDirectory) -> int:
    return max((row["step"] for row in run.steps.metrics()), default=0)


def ask_to_stop(process: forks.Fork, run: RunDirectory, number: int) -> None:
    os.kill(process.pid, number)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 75, output
    assert run.state().name == "preempted"
    assert "checkpoint written after step" in output


@pytest.mark.timeout(3600)
def test_at_lag_1_killed_and_asked_to_stop_it_leaves_the_records_of_an_unbroken_run(tmp_path, tiny_model):
    finish(tmp_path / "unbroken", *AHEAD)
    spans = [span for span in run_of(tmp_path / "unbroken").trace.spans() if span["name"] == "sample"]
    versions = {
        span["args"]["step"]: span["args"]["version"] for span in spans if span["args"]["purpose"] == "training"
    }
    assert versions == {1: 0, 2: 0, 3: 1, 4: 3, 5: 3, 6: 4}, "max(first step of the stage - 1, s - 2)"
    rows = run_of(tmp_path / "unbroken").steps.metrics()
    assert max(row.get("rollout/num_problems_resting", 0) for row in rows) > 0
    of_trainer = [span for span in run_of(tmp_path / "unbroken").trace.spans() if span["tid"] == 0]
    seconds = {span["name"]: span["dur"] for span in reversed(of_trainer)}  # of the first span of each name
    assert seconds["engine"] > seconds["hand_off"], "the engine starts in the span that says so"

    outputs = tmp_path / "broken"
    run = run_of(outputs)
    evaluated = run.steps.eval_samples_file(2, 160)
    kill_when(evaluated.exists, run, outputs, "single process", *SHORT, *AHEAD)
    process = start(outputs, *AHEAD)
    while process.poll() is None and not (run.checkpoints_path / "step_000004").exists():
        time.sleep(0.005)
    ask_to_stop(process, run, signal.SIGTERM)
    assert not run.steps.rollouts_file(6).exists(), "the signal came too late"
    finish(outputs, *AHEAD)
    assert records(outputs) == records(tmp_path / "unbroken")


def test_a_finished_cell_is_not_run_again(unbroken):
    outputs, _ = unbroken
    run = run_of(outputs)
    before = run.manifest.path.read_bytes()
    result = forks.run(words(outputs))
    assert "done already" in result.stdout
    assert run.manifest.path.read_bytes() == before
    assert json.loads(before)["status"] == "done"
