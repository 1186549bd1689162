"""The two layers of Megatron's local specification that Qwen3 needs in another form.

Shape suffixes: S positions, B rows, H query heads, G key/value heads, D head size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ablate.trainer import cpu

cpu.import_megatron()

from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec  # noqa: E402
from megatron.core.transformer.transformer_block import TransformerBlockSubmodules  # noqa: E402
from megatron.core.transformer.transformer_config import TransformerConfig  # noqa: E402


class RMSNorm(torch.nn.RMSNorm):
    """torch's RMSNorm, whose gradient Megatron sums over the tensor group under sequence parallelism.

    Megatron's own wrapper refuses sequence parallelism; without the tag the gradient is off and nothing says so.
    """

    def __init__(self, config: TransformerConfig, hidden_size: int, eps: float) -> None:
        super().__init__(hidden_size, eps=eps, dtype=config.params_dtype)
        self.weight.sequence_parallel = config.sequence_parallel


class CausalAttention(torch.nn.Module):
    """Causal attention by torch's fused kernel: no S x S matrix of scores is stored, on a CPU or a GPU.

    Rows are padded on the right, so the causal mask alone keeps padding out of every real position.
    """

    def __init__(self, config: TransformerConfig, layer_number: int, attn_mask_type: Any, **unused: Any) -> None:
        super().__init__()
        self.dropout = config.attention_dropout

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: None,
        attn_mask_type: Any = None,
        attention_bias: None = None,
        packed_seq_params: Any = None,
    ) -> Tensor:
        """Attend; query is [S, B, H, D] and the result [S, B, H * D], or packed, [N, H, D] and [N, H * D].

        Packed rows are attended one by one: each sees itself only.
        """
        if packed_seq_params is None:
            return self._attend(query, key, value).flatten(2)
        lengths = packed_seq_params.cu_seqlens_q.diff().tolist()
        rows = zip(*(x[:, None].split(lengths) for x in (query, key, value)), strict=True)
        return torch.cat([self._attend(*row) for row in rows]).flatten(1)

    def _attend(self, query_SBHD: Tensor, key_SBGD: Tensor, value_SBGD: Tensor) -> Tensor:
        query_BHSD, key_BGSD, value_BGSD = (x.permute(1, 2, 0, 3) for x in (query_SBHD, key_SBGD, value_SBGD))
        attended_BHSD = torch.nn.functional.scaled_dot_product_attention(
            query_BHSD,
            key_BGSD,
            value_BGSD,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=True,
            enable_gqa=key_BGSD.shape[1] != query_BHSD.shape[1],
        )
        return attended_BHSD.permute(2, 0, 1, 3)


def local_spec(config: TransformerConfig, num_layers: int) -> TransformerBlockSubmodules:
    """``num_layers`` (of one stage) of Megatron's own layers, with the two above as their norm and attention."""
    layer = get_gpt_layer_local_spec(qk_layernorm=True, normalization="RMSNorm")
    parts = layer.submodules
    parts.input_layernorm = parts.pre_mlp_layernorm = RMSNorm
    attention = parts.self_attention.submodules
    attention.q_layernorm = attention.k_layernorm = RMSNorm
    attention.core_attention = CausalAttention
    return TransformerBlockSubmodules(layer_specs=[layer] * num_layers, layer_norm=RMSNorm)
