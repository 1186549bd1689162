"""Fixtures of the trainer's tests: two small checkpoints, and jobs of several processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

CASES = Path(__file__).with_name("cases.py")


@pytest.fixture(scope="session")
def untied_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As ``tiny_checkpoint``, with an output projection of its own and no tokenizer."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    directory = tmp_path_factory.mktemp("untied_checkpoint")
    config = Qwen3Config(
        vocab_size=104,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=160,
        rope_theta=1e6,
        initializer_range=0.2,
        tie_word_embeddings=False,
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = Qwen3ForCausalLM(config)
    with torch.no_grad():  # norms of 1 would hide a norm that is not loaded
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(len(name)))
    model.save_pretrained(directory)
    return directory


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_ranks(size: int, command: Sequence[str], log_dir: Path) -> list[subprocess.Popen]:
    """Start ``python command...`` once per rank, as torchrun would; each rank's output goes to ``log_dir``."""
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(size)}
    ranks = []
    for rank in range(size):
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"}
        with (log_dir / f"rank{rank}.log").open("w") as log:
            environment = os.environ | common | own
            ranks.append(subprocess.Popen([sys.executable, *command], env=environment, stdout=log, stderr=log))
    return ranks


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


@pytest.fixture(scope="session")
def run_ranks(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Run ``cases.py`` on several ranks and return the directory of its results."""

    def run(size: int, model_dir: Path, checkpoints: Path, layouts: Sequence[str], limit_s: float) -> Path:
        out = tmp_path_factory.mktemp("ranks")
        command = [str(CASES), str(out), str(model_dir), str(checkpoints), *layouts]
        codes = wait_for_ranks(start_ranks(size, command, out), out, limit_s)
        assert codes == [0] * size, logs(out)
        return out

    return run
