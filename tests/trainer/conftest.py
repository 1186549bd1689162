"""Fixtures of the trainer's tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# Modules that tests share, and that ranks of a job run as programs.
sys.path.insert(0, str(Path(__file__).parent))


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
