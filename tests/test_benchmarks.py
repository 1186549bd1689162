"""Benchmarks still run, at their smallest size; what they measure is for people to read, on an idle machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SMALLEST = {
    "trainer": (["--sizes", "0.4M", "--rounds", "1"], "x of these"),
    "logprob": (["--tokens", "64"], "| 64 |"),
    "verifier": (["--programs", "2"], "container per test"),
}


@pytest.mark.parametrize("name", SMALLEST)
def test_a_benchmark_runs_and_prints_its_ratios(name):
    options, expected = SMALLEST[name]
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert expected in done.stdout
