"""Small models of random weights, one of each family, as Hugging Face directories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SHAPES: dict[str, dict[str, Any]] = {  # all are divisible by TP 2 and PP 4
    "qwen3": {"hidden_size": 32, "head_dim": 16, "rope_theta": 1e6},
    "llama": {"hidden_size": 32, "head_dim": 16, "rope_theta": 1e4},
    # As DeepSeek-R1-Distill-Qwen's config.json: no head_dim. 32 is the smallest head that vLLM has a CPU kernel for.
    "qwen2": {"hidden_size": 128, "rope_theta": 1e4, "rms_norm_eps": 1e-5, "initializer_range": 0.1},
}


def write_random_model(directory: Path, family: str, *, tied: bool, seed: int = 1, **changes: Any) -> Path:
    """Write config.json and safetensors of 4 layers, 4 heads on 2 kv heads, 104 tokens and 160 positions.

    Weights are wide, so that logits differ clearly. Norms and biases are random too: norms of 1 and biases of 0, with
    which transformers starts, would hide one that is not loaded.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    values = {
        "vocab_size": 104,
        "intermediate_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 160,
        "initializer_range": 0.2,
        "tie_word_embeddings": tied,
        "dtype": "float32",
    }
    config = AutoConfig.for_model(family, **(values | SHAPES[family] | changes))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.uniform_(0.5, 1.5)
            elif name.endswith("bias"):
                parameter.normal_(std=0.5)
    model.save_pretrained(directory)
    return directory
