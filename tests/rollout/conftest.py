"""One engine for all tests of this directory: starting one takes about 6 s."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from ablate.config import EngineConfig, section
from ablate.rollout.open import close_engines, open_engine

CONTEXT = 160
CONF = Path(__file__).parents[2] / "conf"


@pytest.fixture(scope="session")
def engine_config() -> EngineConfig:
    return small_engine_config()


def small_engine_config(**changes) -> EngineConfig:
    """The tiny run's engine with an eighth of its cache, and with ``changes``."""
    values = OmegaConf.load(CONF / "rollout" / "tiny.yaml").engine
    return section(EngineConfig, OmegaConf.merge(values, {"kv_cache_gib": 0.125}, changes), "rollout.engine")


@pytest.fixture(scope="session")
def _closing_engines():
    torch.set_num_threads(1)  # threads that wait for work spin, and slow down everything else on the machine
    yield
    close_engines()


@pytest.fixture
def engine(tiny_checkpoint, engine_config, _closing_engines):
    """The engine with the weights of ``tiny_checkpoint``, whatever an earlier test loaded.

    It is started once, and again only after a test of another directory has closed every engine of the process.
    """
    engine = open_engine(tiny_checkpoint, engine_config, CONTEXT, CONTEXT)
    engine.load_weights(tiny_checkpoint)
    return engine
