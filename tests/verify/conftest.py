"""One verifier with real sandboxes, shared by all tests of this directory."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from ablate.config import VerifyConfig
from ablate.verify.verifier import open_verifier

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode leaves it out, and the tests import hostile.py

CONF = Path(__file__).parents[2] / "conf" / "verify"


def configured(**changes: object) -> VerifyConfig:
    """conf/verify/local.yaml with limits that fit a test suite."""
    quick = {"time_limit_s": 2.0, "wall_factor": 4.0, "memory_limit_mib": 512, "output_limit_kib": 1024}
    quick |= {"cache": False, "cache_dir": "unused"}
    merged = OmegaConf.merge(OmegaConf.structured(VerifyConfig), OmegaConf.load(CONF / "local.yaml"), quick, changes)
    return OmegaConf.to_object(merged)


@pytest.fixture(scope="session")
def make_config():
    return configured


@pytest.fixture(scope="session")
def verifier():
    with open_verifier(configured()) as opened:
        yield opened
