"""The model families that can be trained, and the table of the weights of one of their layers.

A new family is one entry of ``FAMILIES``. Only where it has a part that no other family has does ``LAYER`` get a row,
``transformer_config`` the switch of that part, and ``local_spec`` its layer.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """The parts of one ``model_type`` of config.json that not every family has."""

    models: str  # for people
    qk_norm: bool = False  # RMSNorm of each head's query and key
    qkv_bias: bool = False  # a bias on the query, key and value projections


FAMILIES = {  # model_type in config.json -> family
    "qwen2": Family("Qwen2, Qwen2.5, DeepSeek-R1-Distill-Qwen", qkv_bias=True),
    "qwen3": Family("Qwen3", qk_norm=True),
}


@dataclass(frozen=True)
class LayerWeight:
    """One Megatron parameter of a layer and the Hugging Face tensors that it consists of.

    Sizes in ``hf`` are names: ``hidden``, ``mlp``, ``head`` (one head), ``query`` and ``key`` (all heads together).
    """

    megatron: str
    kind: str  # whole | rows | columns | qkv | gated, see ``ablate.trainer.model.weights.split``
    hf: tuple[tuple[str, ...], ...]  # (name, size of each dimension)
    fused: str | None = None  # Transformer Engine's name, where it differs
    part: str | None = None  # the field of ``Family`` without which the weight does not exist


LAYER = (  # in the order of Hugging Face's modules; a seed fills a random model in this order
    LayerWeight(
        "input_layernorm.weight",
        "whole",
        (("input_layernorm.weight", "hidden"),),
        fused="self_attention.linear_qkv.layer_norm_weight",
    ),
    LayerWeight(
        "self_attention.linear_qkv.weight",
        "qkv",
        (
            ("self_attn.q_proj.weight", "query", "hidden"),
            ("self_attn.k_proj.weight", "key", "hidden"),
            ("self_attn.v_proj.weight", "key", "hidden"),
        ),
    ),
    LayerWeight(
        "self_attention.linear_qkv.bias",
        "qkv",
        (("self_attn.q_proj.bias", "query"), ("self_attn.k_proj.bias", "key"), ("self_attn.v_proj.bias", "key")),
        part="qkv_bias",
    ),
    LayerWeight("self_attention.q_layernorm.weight", "whole", (("self_attn.q_norm.weight", "head"),), part="qk_norm"),
    LayerWeight("self_attention.k_layernorm.weight", "whole", (("self_attn.k_norm.weight", "head"),), part="qk_norm"),
    LayerWeight("self_attention.linear_proj.weight", "columns", (("self_attn.o_proj.weight", "hidden", "query"),)),
    LayerWeight(
        "pre_mlp_layernorm.weight",
        "whole",
        (("post_attention_layernorm.weight", "hidden"),),
        fused="mlp.linear_fc1.layer_norm_weight",
    ),
    LayerWeight(
        "mlp.linear_fc1.weight",
        "gated",
        (("mlp.gate_proj.weight", "mlp", "hidden"), ("mlp.up_proj.weight", "mlp", "hidden")),
    ),
    LayerWeight("mlp.linear_fc2.weight", "columns", (("mlp.down_proj.weight", "hidden", "mlp"),)),
)


def layer_table(family: str) -> list[LayerWeight]:
    """The rows of ``LAYER`` that a model of ``family`` has."""
    return [row for row in LAYER if row.part is None or getattr(FAMILIES[family], row.part)]


def supported_families() -> str:
    """All families, for a message: ``qwen2 (Qwen2, ...), qwen3 (Qwen3)``."""
    return ", ".join(f"{name} ({family.models})" for name, family in FAMILIES.items())
