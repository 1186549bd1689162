"""For one version, the former names of three commands still work and name the new one in one line."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("words", "old", "new"),
    [
        (["ablate.judge", "cases=nowhere.jsonl", "out=x"], "ablate.judge", "ablate.verify"),
        (["ablate.plan", "experiment=tiny", "estimate=true", "status=true", "planner.servers=0"],
         "ablate.plan estimate=true", "ablate.estimate"),
        (["ablate.replay", "rollouts=nowhere", "checkpoint=x", "objectives=[grpo]"],
         "ablate.replay rollouts=", "ablate.laboratory"),
    ],
)  # fmt: skip
def test_a_former_command_line_is_handed_over_to_the_new_command(words, old, new, tmp_path):
    sentences = {
        "ablate.verify": "error: cases=nowhere.jsonl is not a file: give a JSONL of problems with submissions",
        "ablate.estimate": "error: assumptions.servers must be above 0, not 0: give a larger number",
        "ablate.laboratory": "error: rollouts=nowhere is not inside a run (there is no config.yaml): name a run's "
        "rollouts folder",
    }
    command = [sys.executable, "-m", *words]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert result.stderr.splitlines() == [f"note: {old} is now {new}", sentences[new]]
    assert result.returncode == 2
