"""Fixtures that tests of several modules share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ablate.process.importing import without_collecting_garbage

sys.path.append(str(Path(__file__).parent))  # for modules that tests of several directories use
sys.path.append(str(Path(__file__).parents[1]))  # for benchmarks, which some of them use

import schedule


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record-durations", action="store_true", help="write durations.json, by which tests are ordered")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--record-durations") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(schedule.Recorder())


@pytest.hookimpl(tryfirst=True)  # before the worker of pytest-xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if getattr(config, "workerinput", None):
        schedule.group(items)


@pytest.hookimpl(hookwrapper=True)
def pytest_collection() -> Iterator[None]:
    """Test modules import torch, Megatron and transformers."""
    with without_collecting_garbage():
        yield


@pytest.fixture(scope="session")
def public_sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The directory of a generated data set in every public format, by source; the largest test has 1 MiB, not 100."""
    from public_sets.write import write_all

    return write_all(tmp_path_factory.mktemp("public_sets"), large_test_bytes=2**20)


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face directory with the tiny tokenizer and a Qwen3 of random weights, the same in every session.

    4 layers, hidden 32, 4 heads on 2 kv heads of 32, tied embeddings, 104 tokens, 160 positions: it is divisible by TP
    2 and PP 4. The weights are wide (standard deviation 0.2), so that logits differ and parity tests mean something.
    """
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from ablate.data.tokenizer import character_tokenizer

    directory = tmp_path_factory.mktemp("tiny_checkpoint")
    tokenizer = character_tokenizer()
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,  # the smallest that vLLM has a CPU kernel for
        max_position_embeddings=160,
        rope_theta=1e6,
        initializer_range=0.2,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Qwen3ForCausalLM(config)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def qwen2_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen2 of random weights with the tiny tokenizer and an output projection of its own."""
    from random_models import write_random_model

    from ablate.data.tokenizer import character_tokenizer

    tokenizer = character_tokenizer()
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    directory = write_random_model(tmp_path_factory.mktemp("qwen2_checkpoint"), "qwen2", tied=False, **ends)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def tiny_model() -> Path:
    """The warm-started tiny model in its usual cache: built by the first test that needs it."""
    from ablate.cli import compose
    from ablate.config import parse
    from ablate.warm_start import ensure_model

    return ensure_model(parse(compose([])))
