"""One engine for all tests of this directory: it takes about 6 s to start."""

from __future__ import annotations

import pytest
import torch

from ablate.config import EngineConfig
from ablate.rollout.vllm import close_engines, open_engine

CONTEXT = 160


@pytest.fixture(scope="session")
def engine_config() -> EngineConfig:
    return EngineConfig(
        mode="inline",
        urls=[],
        dtype="float32",
        max_num_seqs=64,
        tensor_parallel=1,
        gpu_memory_utilization=0.9,
        kv_cache_gib=0.125,
        enforce_eager=True,
        prefix_caching=False,
    )


@pytest.fixture(scope="session")
def _started_engine(tiny_checkpoint, engine_config):
    torch.set_num_threads(1)  # threads that wait for work spin, and starve whoever else is on the machine
    yield open_engine(tiny_checkpoint, engine_config, CONTEXT, 1.0, CONTEXT)
    close_engines()


@pytest.fixture
def engine(_started_engine, tiny_checkpoint):
    """The started engine with the weights of ``tiny_checkpoint``, whatever an earlier test loaded."""
    _started_engine.load_weights(tiny_checkpoint)
    return _started_engine
