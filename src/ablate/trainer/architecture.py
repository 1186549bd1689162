"""What a Qwen3 checkpoint's config.json says, and how its positions are stretched beyond the trained context."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ablate.errors import UserError
from ablate.hf_config import read_hf_config, rope_theta, yarn_betas, yarn_factor


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
    """YaRN (arXiv 2309.00071) as transformers and vLLM apply it, with the temperature 0.1 ln(factor) + 1.

    A frequency that turns more than ``beta_fast`` times within the original context stays as it is; a frequency that
    turns less than ``beta_slow`` times is stretched by the whole factor.
    """

    factor: float
    original_context: int  # positions the weights were trained for
    beta_fast: float
    beta_slow: float


PAPER_BETAS = {"beta_fast": 32.0, "beta_slow": 1.0}  # the defaults of transformers and vLLM too


def pinned_architecture(values: Mapping[str, Any]) -> Architecture:
    """Check and return ``model.architecture`` of the configuration.

    Raises:
        UserError: for a field that is missing, unknown or of the wrong type.
    """
    kinds = {"int": int, "float": (int, float), "bool": bool}
    wanted = {field.name: field.type for field in fields(Architecture)}
    if set(values) != set(wanted):
        raise UserError(f"model.architecture has the keys {', '.join(wanted)}, not {', '.join(map(str, values))}")
    for name, kind in wanted.items():
        value = values[name]
        is_number = kind != "bool"
        if not isinstance(value, kinds[kind]) or (is_number and (isinstance(value, bool) or not 0 < value < math.inf)):
            needed = {"int": "a whole number above 0", "float": "a number above 0", "bool": "true or false"}[kind]
            raise UserError(f"model.architecture.{name} must be {needed}, not {value!r}")
    return Architecture(**values)


def yarn_for(model_dir: Path, context_length: int, original_context: int) -> Yarn | None:
    """YaRN with the ratio of the contexts as its factor; None if the weights were trained for ``context_length``."""
    if context_length <= original_context:
        return None
    betas = PAPER_BETAS | yarn_betas(read_hf_config(model_dir))
    return Yarn(factor=yarn_factor(context_length, original_context), original_context=original_context, **betas)


def read_architecture(model_dir: Path) -> Architecture:
    """Read ``config.json``.

    Raises:
        UserError: when the file is missing or the model is not a Qwen3.
    """
    values, path = read_hf_config(model_dir), Path(model_dir) / "config.json"
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
