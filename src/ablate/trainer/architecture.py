"""What a Qwen3 checkpoint's config.json says, and how its positions are stretched beyond the trained context."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.errors import UserError


@dataclass(frozen=True)
class Architecture:
    """The shape of a Qwen3 model (Hugging Face's names in config.json)."""

    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    mlp_size: int
    norm_eps: float
    rope_theta: float
    tied_embeddings: bool


@dataclass(frozen=True)
class Yarn:
    """YaRN (arXiv 2309.00071) as transformers and vLLM apply it: temperature 0.1 ln(factor) + 1, beta 32 and 1."""

    factor: float
    original_context: int  # positions the weights were trained for


def read_architecture(model_dir: Path) -> Architecture:
    """Read ``config.json``.

    Raises:
        UserError: when the file is missing or the model is not a Qwen3.
    """
    path = Path(model_dir) / "config.json"
    if not path.is_file():
        raise UserError(f"{path} does not exist: model.path must be a Hugging Face model directory")
    values = json.loads(path.read_text())
    if values.get("model_type") != "qwen3":
        raise UserError(f"{path}: model_type={values.get('model_type')!r} is not supported: use a qwen3 checkpoint")
    if values.get("attention_bias") or values.get("use_sliding_window"):
        raise UserError(f"{path}: attention_bias and use_sliding_window must be false for the Megatron model")
    return Architecture(
        vocab_size=values["vocab_size"],
        hidden_size=values["hidden_size"],
        num_layers=values["num_hidden_layers"],
        num_heads=values["num_attention_heads"],
        num_kv_heads=values["num_key_value_heads"],
        head_dim=values["head_dim"],
        mlp_size=values["intermediate_size"],
        norm_eps=values["rms_norm_eps"],
        rope_theta=rope_theta(values),
        tied_embeddings=values["tie_word_embeddings"],
    )


def rope_theta(values: dict[str, Any]) -> float:
    """transformers 5 writes ``rope_parameters.rope_theta``, transformers 4 wrote ``rope_theta``."""
    return (values.get("rope_parameters") or values)["rope_theta"]
