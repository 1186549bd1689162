import os
import subprocess
import sys
from pathlib import Path

import pytest

from hydra_plugins.ablate_local_launcher import visible_gpus

SWEEP = [sys.executable, "-m", "ablate.train", "-m", "hydra/launcher=local"]


@pytest.mark.parametrize(("named", "found"), [("0,3", ["0", "3"]), ("GPU-ab,GPU-cd", ["GPU-ab", "GPU-cd"]), ("", [])])
def test_the_gpus_are_those_that_the_process_may_see(named, found, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert visible_gpus() == found


@pytest.mark.parametrize(
    ("variables", "words", "said"),
    [
        ({"CUDA_VISIBLE_DEVICES": "0,1"}, ["hydra.launcher.workers=3"], "hydra.launcher.workers=3 must be 1 to 2"),
        ({"WORLD_SIZE": "2"}, [], "torchrun has started several"),
    ],
)
def test_a_sweep_that_cannot_be_shared_out_is_refused(variables, words, said, tmp_path):
    command = [*SWEEP, *words, "objective=grpo,gspo", f"paths.outputs={tmp_path}"]
    result = subprocess.run(command, capture_output=True, text=True, env=os.environ | variables)
    assert result.returncode == 2
    assert said in result.stderr.splitlines()[-1]


def test_a_worker_that_is_killed_fails_its_run_in_one_sentence_and_no_other(tmp_path):
    words = ["hydra.launcher.task=stand_ins:work", "cell=crashes,done-1", f"paths.outputs={tmp_path}"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    result = subprocess.run([*SWEEP, *words], capture_output=True, text=True, env=environment)
    assert result.returncode == 1
    assert (tmp_path / "done-1").exists()
    said = [line for line in result.stderr.splitlines() if "the process of this run was killed by signal 9" in line]
    assert [line[:5] for line in said] == ["error", "  hyd"], "at once, and in the last lines"
    assert "Traceback" not in result.stderr
