"""Run by test_worlds.py in processes of its own: an engine next to the trainer's torch.distributed.

    python in_one_world.py engine_first|trainer_first MODEL_DIR
    RANK=.. WORLD_SIZE=2 MASTER_ADDR=.. MASTER_PORT=.. python in_one_world.py child MODEL_DIR

Prints what was sampled as JSON on the last line.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest
import torch
import torch.distributed as dist
from omegaconf import OmegaConf

from ablate.config import EngineConfig, ParallelConfig, section
from ablate.errors import UserError
from ablate.rollout.engine import Request
from ablate.rollout.open import close_engines, open_engine

CONF = Path(__file__).parents[2] / "conf"
CONTEXT = 160
REQUESTS = [Request(index, tuple(range(3, 20 + index)), 7 + index, 20, 1.0, 1.0) for index in range(6)]


def engine_config(placement: str) -> EngineConfig:
    values = OmegaConf.load(CONF / "rollout" / "tiny.yaml").engine
    return section(
        EngineConfig, OmegaConf.merge(values, {"kv_cache_gib": 0.125, "placement": placement}), "rollout.engine"
    )


def sample(model_dir: str, placement: str) -> list[list[int]]:
    """Response ids in the order of REQUESTS."""
    engine = open_engine(model_dir, engine_config(placement), CONTEXT, CONTEXT)
    results = {}
    engine.sample(REQUESTS, results.__setitem__)
    return [list(results[request.key].response_ids) for request in REQUESTS]


def open_trainers_world(num_ranks: int) -> None:
    from ablate.trainer.parallel.world import open_world

    parallel = section(ParallelConfig, OmegaConf.load(CONF / "parallel" / "single.yaml"), "parallel")
    world = open_world(parallel)
    assert world.size == num_ranks
    check_world_works(num_ranks)


def check_world_works(num_ranks: int) -> None:
    ones = torch.ones(2)
    dist.all_reduce(ones)
    assert ones.tolist() == [num_ranks, num_ranks]


def one_process(order: str, model_dir: str) -> list[list[int]]:
    if order == "trainer_first":
        open_trainers_world(1)
    torch.manual_seed(11)
    random_state = torch.get_rng_state()
    sampled = sample(model_dir, "inline")
    assert torch.equal(torch.get_rng_state(), random_state)
    if order == "engine_first":
        open_trainers_world(1)
    assert sample(model_dir, "inline") == sampled
    close_engines()
    gc.collect()
    check_world_works(1)
    return sampled


def two_processes(model_dir: str) -> list[list[int]] | None:
    open_trainers_world(2)
    box = [None]
    if dist.get_rank() == 0:
        with pytest.raises(UserError, match="placement=child"):
            sample(model_dir, "inline")
        box[0] = sample(model_dir, "child")
    dist.broadcast_object_list(box, src=0)
    check_world_works(2)
    return box[0]


def killed_after(sampled: list[list[int]]) -> None:
    """Print what was sampled, the engine's processes and the place of its sockets, and die without cleaning up."""
    children = [child.pid for child in psutil.Process().children(recursive=True)]
    sockets = os.environ["VLLM_RPC_BASE_PATH"]
    assert list(Path(sockets).iterdir())
    print(json.dumps({"sampled": sampled, "children": children, "sockets": sockets}), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "child":
        result = two_processes(sys.argv[2])
        if dist.get_rank() == 0:
            killed_after(result)
    else:
        print(json.dumps(one_process(*sys.argv[1:])))
    dist.destroy_process_group()
