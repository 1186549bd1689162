"""The template of one node as a real run without SLURM: a server and a trainer share a machine, and both end."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

from ablate.records import RunDirectory

ROOT = Path(__file__).parents[2]


def test_a_server_and_a_trainer_share_one_node_and_nothing_is_left(tiny_checkpoint, tmp_path):
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    words = [
        *("experiment=tiny", "setting=arithmetic", "objective=grpo", "seed=0", "logging.wandb=disabled"),
        *(f"model.path={tiny_checkpoint}", f"paths.outputs={tmp_path}", "context.steps=1", "verify.workers=1"),
        *("rollout.prompts_per_step=2", "rollout.samples_per_prompt=4", "rollout.engine.kv_cache_gib=0.125"),
        *("eval.at_start=false", "eval.at_end=false"),
    ]
    environment = os.environ | {"ABLATE_PYTHON": sys.executable, "ABLATE_SERVER_PORT": str(port)}
    environment["http_proxy"] = "http://127.0.0.1:9"  # as some sites export it: no server is behind it
    command = ["slurm/onenode.sbatch", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    run = RunDirectory(tmp_path / "tiny" / "grpo" / "seed0")
    assert run.status == "done"
    assert [row["step"] for row in run.steps.metrics()] == [1]
    with socket.socket() as one:
        assert one.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED
