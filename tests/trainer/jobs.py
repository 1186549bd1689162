"""Jobs of several processes, started as torchrun would start them and never left behind."""

from __future__ import annotations

import multiprocessing
import socket
import time
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

import rank_of_job
import torch
import torch.distributed as dist

FRESH = multiprocessing.get_context("spawn")
# Processes that are forked share the seconds of one import. A process that has asked for a GPU must not be forked.
FORKED = FRESH if torch.cuda.is_available() else multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["ablate.trainer.trainer"])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_ranks(
    size: int, command: Sequence[str], log_dir: Path, store: dist.TCPStore | None = None
) -> list[BaseProcess]:
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
        of_rank = (list(command), common | own_environment(rank), log_dir / f"rank{rank}.log")
        ranks.append(FORKED.Process(target=rank_of_job.run, args=of_rank))
        ranks[-1].start()
    return ranks


def start_forked_ranks(size: int, words: Sequence[str], log_dir: Path) -> BaseProcess:
    """Start ``ranks.py``, which imports Megatron once for all ranks; they write to ``log_dir``."""
    command = [str(Path(__file__).parent / "ranks.py"), str(log_dir), str(size), *words]
    environment = {"OMP_NUM_THREADS": "1"}
    job = FRESH.Process(target=rank_of_job.run, args=(command, environment, log_dir / "ranks.log"))
    job.start()
    return job


def common_environment(size: int) -> dict[str, str]:
    return {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(size)}


def own_environment(rank: int) -> dict[str, str]:
    return {"RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"}


def wait_for_ranks(ranks: list[BaseProcess], log_dir: Path, limit_s: float) -> list[int]:
    """Return the exit codes; whatever still runs after ``limit_s`` is killed (by pid) and the test fails."""
    end = time.monotonic() + limit_s
    try:
        for rank in ranks:
            rank.join(max(0.1, end - time.monotonic()))
        codes = [rank.exitcode for rank in ranks]
        assert None not in codes, f"the job was not done after {limit_s} s:\n{logs(log_dir)}"
        return codes
    finally:
        for rank in ranks:
            if rank.is_alive():
                rank.kill()
                rank.join()


def logs(log_dir: Path) -> str:
    return "\n".join(f"--- {path.name}\n{path.read_text()[-3000:]}" for path in sorted(log_dir.glob("*.log")))
