"""A whole run (engine, sandbox, updates, evaluation) leaves the same series of metrics under any layout."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ablate.records import RunDirectory

LAYOUTS = ("tp2", "pp2", "dp2")
LIMIT_S = 280
# Between engine and trainer: rounding, of which only the size can be compared.
GAPS = ("policy/mismatch_mean_abs", "policy/mismatch_abs_max", "policy/mismatch_kl")
SHORT = [
    *("experiment=tiny", "objective=gspo", "seed=0", "context.steps=2", "checkpoint.every=0", "eval.at_start=false"),
    *("rollout.prompts_per_step=4", "rollout.samples_per_prompt=4", "rollout.engine.placement=child"),
    *(
        "rollout.engine.kv_cache_gib=0.125",
        "eval.samples_per_problem=1",
        "eval.pass_at=[1]",
        "eval.contexts=[{length:160,every:0}]",
    ),
    *("logging.display=plain", "logging.wandb=disabled"),
]


@pytest.fixture(scope="module")
def series(tiny_model, tmp_path_factory):
    """metrics.jsonl by layout; two jobs at a time."""
    outputs = tmp_path_factory.mktemp("layouts")

    def run(layout: str) -> list[dict[str, float]]:
        launcher = ["-m", "ablate.train"]
        if layout != "single":
            launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *launcher]
        command = [sys.executable, *launcher, *SHORT, f"parallel={layout}", f"paths.outputs={outputs / layout}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        (directory,) = Path(outputs / layout).glob("**/seed0")
        return RunDirectory(directory).steps.metrics()

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(("single", *LAYOUTS), pool.map(run, ("single", *LAYOUTS)), strict=True))


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
