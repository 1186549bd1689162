"""Jobs of several processes, started as torchrun would start them and never left behind."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch.distributed as dist


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_ranks(
    size: int, command: Sequence[str], log_dir: Path, store: dist.TCPStore | None = None
) -> list[subprocess.Popen]:
    """Start ``python command...`` once per rank, as torchrun would; each rank's output goes to ``log_dir``.

    Args:
        store: of the job, in this process, as torchrun hosts it; without one, rank 0 hosts it.
    """
    common = common_environment(size)
    if store is not None:
        agent = {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
        common |= {"MASTER_PORT": str(store.port), **agent}
    ranks = []
    for rank in range(size):
        with (log_dir / f"rank{rank}.log").open("w") as log:
            environment = os.environ | common | own_environment(rank)
            ranks.append(subprocess.Popen([sys.executable, *command], env=environment, stdout=log, stderr=log))
    return ranks


def start_forked_ranks(size: int, words: Sequence[str], log_dir: Path) -> subprocess.Popen:
    """Start ``ranks.py``, which imports Megatron once for all ranks; they write to ``log_dir``."""
    program = str(Path(__file__).parent / "ranks.py")
    with (log_dir / "ranks.log").open("w") as log:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        command = [sys.executable, program, str(log_dir), str(size), *words]
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)


def common_environment(size: int) -> dict[str, str]:
    return {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(size)}


def own_environment(rank: int) -> dict[str, str]:
    return {"RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"}


def wait_for_ranks(ranks: list[subprocess.Popen], log_dir: Path, limit_s: float) -> list[int]:
    """Return the exit codes; whatever still runs after ``limit_s`` is killed (by pid) and the test fails."""
    end = time.monotonic() + limit_s
    try:
        return [rank.wait(timeout=max(0.1, end - time.monotonic())) for rank in ranks]
    except subprocess.TimeoutExpired:
        pytest.fail(f"the job was not done after {limit_s} s:\n{logs(log_dir)}")
    finally:
        for rank in ranks:
            if rank.poll() is None:
                rank.kill()
                rank.wait()


def logs(log_dir: Path) -> str:
    return "\n".join(f"--- {path.name}\n{path.read_text()[-3000:]}" for path in sorted(log_dir.glob("*.log")))
