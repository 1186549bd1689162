"""The whole path on real parts: one process, several cells, the same random numbers for every arm."""

import json
import os
import signal
import subprocess
import sys
import time

import forks
import pyarrow.parquet as pq
import pytest

from ablate.records import RunDirectory

TRAIN = ["-m", "ablate.train"]
SHORT = [
    "experiment=tiny",
    "setting=arithmetic",
    "context.steps=2",
    "rollout.prompts_per_step=4",
    "rollout.samples_per_prompt=4",
    "eval.samples_per_problem=1",
    "eval.pass_at=[1]",
    "eval.at_start=false",
    "seed=0",
]


def train(outputs, *arguments, start=forks.run, timeout_s=1200):
    return start([*TRAIN, *arguments, f"paths.outputs={outputs}", *SHORT], timeout=timeout_s)


def by_the_command(words, timeout):
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=timeout)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory, tiny_model):
    """Two objectives in two processes, and a third cell that fails after its configuration was accepted."""
    outputs = tmp_path_factory.mktemp("sweep")
    blocked = RunDirectory(outputs / "tiny" / "gspo" / "seed0")
    blocked.path.mkdir(parents=True)
    blocked.steps.metrics_path.mkdir()  # a directory where a file must be written
    words = ("-m", "hydra/launcher=local", "hydra.launcher.workers=2", "objective=grpo,gspo,dapo")
    return outputs, train(outputs, *words, start=by_the_command)


def run_of(outputs, cell):
    return RunDirectory(outputs / "tiny" / cell / "seed0")


def test_a_run_leaves_its_records(sweep):
    outputs, _ = sweep
    run = run_of(outputs, "grpo")
    assert run.status == "done"
    rows = run.steps.metrics()
    assert [row["step"] for row in rows] == [1, 2]
    assert {"train/loss", "policy/clip_high", "policy/entropy", "rollout/pass_rate"} <= rows[0].keys()
    assert {"eval/pass@1/160", "eval/pass@1/320", "eval/truncated/320"} <= rows[1].keys()
    table = pq.read_table(run.steps.rollouts_file(1))
    assert table.num_rows == 16
    assert {"response_ids", "rollout_logp", "old_logp", "advantage", "verdict"} <= set(table.column_names)
    assert {row.context for row in run.steps.eval_rows()} == {160, 320}
    assert run.manifest.read()["packages"]["megatron-core"]
    assert any(run.checkpoints_path.glob("step_*"))
    assert any((run.path / "wandb").glob("offline-run-*/*.wandb")), "the mirror of metrics.jsonl"


def test_a_run_that_is_done_says_where_it_is_and_its_scores_and_keeps_the_texts_of_its_evaluation(sweep):
    outputs, result = sweep
    run = run_of(outputs, "grpo")
    (line,) = [line for line in result.stdout.splitlines() if f"done: {run.path}" in line]
    score = 100 * run.steps.metrics()[-1]["eval/pass@1/160"]
    assert f"Pass@1 {score:.1f} % [" in line
    assert run.eval_texts.kept() == [(2, 160), (2, 320)]
    kept = run.eval_texts.rows(2, 160, ["problem_id", "sample", "verdict"])
    scored = [row for row in run.steps.eval_rows() if row.context == 160]
    assert [tuple(row.values()) for row in kept] == [(row.problem_id, row.sample, row.verdict) for row in scored]


def test_evaluating_the_last_checkpoint_gives_the_last_evaluation_of_the_run(sweep, tmp_path):
    outputs, _ = sweep
    run = run_of(outputs, "grpo")
    words = ["-m", "ablate.evaluate", f"checkpoint={run.checkpoints_path / 'step_000002'}"]
    result = forks.run([*words, "metrics=true", f"out={tmp_path / 'rows.parquet'}"])
    assert result.returncode == 0, result.stderr
    rows = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert rows == [vars(row) for row in run.steps.eval_rows()]
    assert f"eval/pass@1/160 {run.steps.metrics()[-1]['eval/pass@1/160']:.4f}" in " ".join(result.stdout.split())


def test_arms_of_a_comparison_see_the_same_problems_with_the_same_random_numbers(sweep):
    outputs, _ = sweep
    keys = ["problem_id", "sample", "seed", "response_ids"]
    grpo, dapo = (pq.read_table(run_of(outputs, cell).steps.rollouts_file(1)).to_pylist() for cell in ("grpo", "dapo"))
    seen = {(row["problem_id"], row["sample"]): [row[key] for key in keys] for row in grpo}
    shared = [row for row in dapo if (row["problem_id"], row["sample"]) in seen]
    assert shared, "dapo trains on some of the groups of the first round"
    for row in shared:
        assert [row[key] for key in keys] == seen[row["problem_id"], row["sample"]]


def test_a_cell_that_fails_does_not_stop_the_others_and_is_named_at_the_end(sweep):
    outputs, result = sweep
    assert run_of(outputs, "grpo").status == run_of(outputs, "dapo").status == "done"
    assert run_of(outputs, "gspo").status == "failed"
    assert result.returncode == 1
    assert "failed runs: 1" in result.stderr
    assert "gspo/seed0: IsADirectoryError" in result.stderr.strip().splitlines()[-1]
    assert "IsADirectoryError" in run_of(outputs, "gspo").manifest.read()["error"]


def test_the_same_sweep_runs_only_what_is_missing_or_failed(sweep):
    outputs, _ = sweep
    one_process = train(outputs, "-m", "objective=grpo,gspo,dapo")
    assert one_process.returncode == 1
    assert "gspo/seed0: IsADirectoryError" in one_process.stderr.strip().splitlines()[-1]
    run_of(outputs, "gspo").steps.metrics_path.rmdir()
    before = run_of(outputs, "grpo").manifest.path.read_bytes()
    result = train(outputs, "-m", "objective=grpo,gspo,dapo")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("done already") == 2
    assert run_of(outputs, "grpo").manifest.path.read_bytes() == before
    assert run_of(outputs, "gspo").status == "done"


def test_a_full_disk_is_one_sentence_and_the_cell_leaves_the_records_of_the_sweep(sweep, tmp_path, tiny_model):
    run = run_of(tmp_path, "grpo")
    run.path.mkdir(parents=True)
    run.trace.path.symlink_to("/dev/full")  # every write to it fails as on a full disk
    result = train(tmp_path, "objective=grpo", "logging.wandb=disabled")
    assert result.returncode == 2
    assert result.stderr.strip().splitlines()[-1].startswith("error: no space is left for ")
    assert "no space is left" in run.manifest.read()["error"]
    run.trace.path.unlink()
    assert train(tmp_path, "objective=grpo", "logging.wandb=disabled").returncode == 0
    assert [row["step"] for row in run.steps.metrics()] == [1, 2]
    in_sweep = run_of(sweep[0], "grpo")
    for path in (run.steps.metrics_path, run.steps.eval_path, *run.steps.rollouts_path.iterdir()):
        assert path.read_bytes() == (in_sweep.path / path.relative_to(run.path)).read_bytes(), path.name


def test_ctrl_c_leaves_the_sweep_at_once_and_the_cell_resumable(tmp_path, tiny_model):
    arguments = ["-m", f"paths.outputs={tmp_path}", *SHORT, "objective=grpo,gspo", "context.steps=50"]
    process = forks.Fork([*TRAIN, *arguments])
    run = run_of(tmp_path, "grpo")
    while process.poll() is None and not run.steps.rollouts_file(1).exists():
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 130
    assert "the same command continues" in output
    assert run.status == "preempted"
    assert run_of(tmp_path, "gspo").status == "missing"
    assert json.loads(run.manifest.path.read_text())["attempts"][0]["stop"]


ONE_ENGINE_AT_A_TIME = """
import runpy
from ablate.rollout import open as opening
opening.one_at_a_time = lambda: True  # as on a GPU
runpy.run_module("ablate.train", run_name="__main__", alter_sys=True)
"""


def test_one_engine_at_a_time_samples_with_the_new_weights_after_an_evaluation(tmp_path, tiny_model):
    changes = ["objective=grpo", "eval.every=1", "optim.lr=0.003", "logging.wandb=disabled", "checkpoint.every=0"]
    result = forks.run(["-c", ONE_ENGINE_AT_A_TIME, f"paths.outputs={tmp_path}", *SHORT, *changes])
    assert result.returncode == 0, result.stderr
    gaps = [row["policy/mismatch_abs_max"] for row in run_of(tmp_path, "grpo").steps.metrics()]
    assert len(gaps) == 2
    assert max(gaps) < 1e-4
