"""The shape of a model: the fields that config.json and ``conf/model`` describe."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    """The shape of a model, as config.json says it and as ``conf/model`` may pin it.

    Example: Qwen3-14B has ``hidden_size == 5120``, ``num_layers == 40``, ``num_heads == 40``, ``num_kv_heads == 8``.
    """

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
    family: str = "qwen3"  # a key of trainer.model.families.FAMILIES: model_type in config.json
