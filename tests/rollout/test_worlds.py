"""Engine and trainer share a machine, and in one process torch.distributed, and stay out of each other's way."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import forks
import psutil
import pytest

from ablate.rollout.engine import Request

SCRIPT = Path(__file__).with_name("in_one_world.py")


def start(*arguments: str, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
    )


def last_line(process: subprocess.Popen | forks.Fork, exit_code: int = 0) -> str:
    output, errors = process.communicate(timeout=600)
    assert process.returncode == exit_code, errors[-3000:]
    return output.strip().splitlines()[-1] if output.strip() else ""


def free_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


@pytest.fixture
def expected(engine):
    """What the engine of this process samples for the script's requests."""
    requests = [Request(index, tuple(range(3, 20 + index)), 7 + index, 20, 1.0, 1.0) for index in range(6)]
    results = {}
    engine.sample(requests, results.__setitem__)
    return [list(results[request.key].response_ids) for request in requests]


@pytest.mark.parametrize("order", ["engine_first", "trainer_first"])
def test_an_inline_engine_shares_a_process_with_megatron_in_either_order(order, tiny_checkpoint, expected):
    assert json.loads(last_line(start(order, str(tiny_checkpoint)))) == expected


def test_a_child_engine_of_a_launched_job_samples_the_same_dies_with_it_and_leaves_no_socket(tiny_checkpoint, expected):
    launcher = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    words, environment = [str(SCRIPT), "child", str(tiny_checkpoint)], os.environ | {"OMP_NUM_THREADS": "1"} | launcher
    own = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]
    ranks = [forks.Fork(words, env=environment | each, merged=False) for each in own]
    try:
        leader = json.loads(last_line(ranks[0], exit_code=-signal.SIGKILL))
        last_line(ranks[1])
    finally:
        for rank in ranks:
            rank.kill()
    assert leader["sampled"] == expected
    assert leader["children"]
    left = [process for process in psutil.process_iter() if process.pid in leader["children"]]
    _, alive = psutil.wait_procs(left, timeout=6000)
    assert alive == []
    assert not Path(leader["sockets"]).exists()
