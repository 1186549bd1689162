"""A whole run (engine, sandbox, updates, evaluation) leaves the same series of metrics under any layout.

A job of several processes that is killed continues like one that was not.
"""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import forks
import pytest
from killing import kill_when, kill_while_a_checkpoint_is_written

from ablate.records import RunDirectory
from benchmarks.faults.runs import records

pytestmark = pytest.mark.timeout(3600)  # the first test pays for the runs of every layout

LAYOUTS = {"tp2": "tp2_pp1", "pp2": "tp1_pp2", "dp2": "tp1_pp1"}  # the cell of each
# Between engine and trainer: rounding, of which only the size can be compared.
GAPS = ("policy/mismatch_mean_abs", "policy/mismatch_abs_max", "policy/mismatch_kl")
SHORT = [
    *(
        "experiment=tiny",
        "setting=arithmetic",
        "objective=gspo",
        "seed=0",
        "context.steps=2",
        "checkpoint.every=0",
        "checkpoint.keep_steps=[1]",
        "eval.at_start=false",
    ),
    *("rollout.prompts_per_step=4", "rollout.samples_per_prompt=4"),
    *(
        "rollout.engine.kv_cache_gib=0.125",
        "eval.samples_per_problem=1",
        "eval.pass_at=[1]",
        "eval.contexts=[{length:160,every:0}]",
    ),
    *("logging.display=plain", "logging.wandb=disabled"),
]


def finish(outputs: Path, *words: str, processes: int = 2) -> RunDirectory:
    """Make a run, or the runs of a sweep; return the run of the cell that has its objective's name."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    words = ["-m", "ablate.train", *words, *SHORT, f"paths.outputs={outputs}"]
    if processes > 1:
        done = subprocess.run([sys.executable, *launcher, *words], capture_output=True, text=True)
    else:
        done = forks.run(words)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return RunDirectory(outputs / "tiny" / "gspo" / "seed0")


@pytest.fixture(scope="module")
def runs(tiny_model, tmp_path_factory) -> dict[str, RunDirectory]:
    """An unbroken run by layout. One job of two processes makes a sweep, with one start of everything."""
    outputs = tmp_path_factory.mktemp("layouts")
    sweep = ("-m", f"parallel={','.join(LAYOUTS)}", "cell=tp${parallel.tensor}_pp${parallel.pipeline}")
    with ThreadPoolExecutor(2) as pool:
        single = pool.submit(finish, outputs, processes=1)
        finish(outputs, *sweep)
    cells = {layout: RunDirectory(outputs / "tiny" / cell / "seed0") for layout, cell in LAYOUTS.items()}
    return {"single": single.result(), **cells}


@pytest.fixture(scope="module")
def series(runs) -> dict[str, list[dict[str, float]]]:
    return {layout: run.steps.metrics() for layout, run in runs.items()}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_metrics_of_a_run_do_not_depend_on_the_layout(series, layout):
    assert [row["step"] for row in series["single"]] == [1, 2]
    for expected, found in zip(series["single"], series[layout], strict=True):
        assert max(abs(metrics[name]) for metrics in (expected, found) for name in GAPS) < 2e-5
        assert without_gaps(found) == pytest.approx(without_gaps(expected), rel=2e-5, abs=2e-6)


def without_gaps(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if name not in GAPS}


def test_there_was_something_to_learn_from(series):
    assert all(row["train/grad_norm"] > 0 for row in series["single"])


def test_a_job_whose_leader_is_killed_while_it_writes_a_checkpoint_ends_and_continues(runs, tmp_path):
    killed, checkpoints = RunDirectory(tmp_path / "tiny" / "gspo" / "seed0"), "checkpoint.every=1"
    kill_while_a_checkpoint_is_written(killed, tmp_path, "torchrun tp2", *SHORT, checkpoints)
    assert records(finish(tmp_path, "parallel=tp2", checkpoints)) == records(runs["tp2"])


def test_a_fork_of_a_job_whose_leader_is_killed_is_the_continuation_of_its_parent(runs, tmp_path):
    parent, killed = runs["tp2"], RunDirectory(tmp_path / "tiny" / "gspo" / "seed0")
    fork = f"fork.run={parent.path}", "fork.step=1"
    kill_when(killed.steps.rollouts_file(2).exists, killed, tmp_path, "torchrun tp2", *SHORT, *fork)
    expected = records(parent)
    expected["metrics.jsonl"] = expected["metrics.jsonl"].splitlines(keepends=True)[1]
    del expected["step_00001.parquet"]
    assert records(finish(tmp_path, "parallel=tp2", *fork)) == expected
