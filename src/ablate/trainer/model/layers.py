"""Our form of two layers of Megatron's local specification: the norm and the attention.

Shape suffixes: S positions, B rows, H query heads, G key/value heads, D head size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ablate.trainer import cpu
from ablate.trainer.parallel import context_parallel

cpu.import_megatron()

from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec  # noqa: E402
from megatron.core.process_groups_config import ProcessGroupCollection  # noqa: E402
from megatron.core.transformer.transformer_block import TransformerBlockSubmodules  # noqa: E402
from megatron.core.transformer.transformer_config import TransformerConfig  # noqa: E402


class RMSNorm(torch.nn.RMSNorm):
    """torch's RMSNorm, whose gradient Megatron sums over the tensor group under sequence parallelism.

    Megatron's own wrapper refuses sequence parallelism; without this tag the gradient is wrong and no error is raised.
    """

    def __init__(self, config: TransformerConfig, hidden_size: int, eps: float) -> None:
        super().__init__(hidden_size, eps=eps, dtype=config.params_dtype)
        self.weight.sequence_parallel = config.sequence_parallel


class CausalAttention(torch.nn.Module):
    """Causal attention by torch's fused kernel: no S x S matrix of scores is stored, on a CPU or a GPU.

    Rows are padded on the right, so the causal mask alone keeps padding out of every real position. Under context
    parallelism each process has the queries of its own positions, and joins the keys and values of all processes.
    """

    def __init__(
        self,
        config: TransformerConfig,
        layer_number: int,
        attn_mask_type: Any,
        pg_collection: ProcessGroupCollection,
        **unused: Any,
    ) -> None:
        super().__init__()
        self.dropout = config.attention_dropout
        self.context_group = pg_collection.cp

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

        Packed rows are processed one by one: each row attends to itself only.
        """
        if packed_seq_params is None:
            lengths = [len(query) * self.context_group.size()]
            return self._attend_rows(query, key, value, lengths).flatten(2)
        lengths = packed_seq_params.cu_seqlens_q.diff().tolist()
        return self._attend_rows(query[:, None], key[:, None], value[:, None], lengths).flatten(2)[:, 0]

    def _attend_rows(self, query: Tensor, key: Tensor, value: Tensor, lengths: list[int]) -> Tensor:
        """Attend row by row; query, key and value hold this process's positions of all rows."""
        if self.context_group.size() > 1:
            return self._attend_parts(query, key, value, lengths)
        if len(lengths) == 1:
            return self._attend(query, key, value, first=0)
        rows = zip(*(x.split(lengths) for x in (query, key, value)), strict=True)
        return torch.cat([self._attend(*row, first=0) for row in rows])

    def _attend_parts(self, query: Tensor, key: Tensor, value: Tensor, lengths: list[int]) -> Tensor:
        """Attend with the two parts of every row that this context rank holds."""
        rank, size = self.context_group.rank(), self.context_group.size()
        both = context_parallel.joined(torch.cat((key, value), dim=-1), lengths, self.context_group, sum_gradients=True)
        key, value = both.chunk(2, dim=-1)
        query_rows = query.split([length // size for length in lengths])
        attended = []
        for query_row, key_row, value_row in zip(query_rows, key.split(lengths), value.split(lengths), strict=True):
            part = len(query_row) // 2
            for index, query_part in zip((rank, 2 * size - 1 - rank), query_row.split(part), strict=True):
                end = (index + 1) * part
                attended.append(self._attend(query_part, key_row[:end], value_row[:end], first=index * part))
        return torch.cat(attended)

    def _attend(self, query_SBHD: Tensor, key_SBGD: Tensor, value_SBGD: Tensor, first: int) -> Tensor:
        """Attend with the queries from position ``first`` of a row; the keys start at 0 and end at the last query."""
        query_BHSD, key_BGSD, value_BGSD = (x.permute(1, 2, 0, 3) for x in (query_SBHD, key_SBGD, value_SBGD))
        seen = None
        if first:
            seen = torch.ones(len(query_SBHD), len(key_SBGD), dtype=torch.bool, device=query_SBHD.device).tril(first)
        attended_BHSD = torch.nn.functional.scaled_dot_product_attention(
            query_BHSD,
            key_BGSD,
            value_BGSD,
            attn_mask=seen,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=not first,
            enable_gqa=key_BGSD.shape[1] != query_BHSD.shape[1],
        )
        return attended_BHSD.permute(2, 0, 1, 3)


def local_spec(config: TransformerConfig, num_layers: int) -> TransformerBlockSubmodules:
    """``num_layers`` (of one stage) of Megatron's own layers, with the two above as their norm and attention."""
    layer = get_gpt_layer_local_spec(qk_layernorm=config.qk_layernorm, normalization="RMSNorm")
    parts = layer.submodules
    parts.input_layernorm = parts.pre_mlp_layernorm = RMSNorm
    attention = parts.self_attention.submodules
    if config.qk_layernorm:
        attention.q_layernorm = attention.k_layernorm = RMSNorm
    attention.core_attention = CausalAttention
    return TransformerBlockSubmodules(layer_specs=[layer] * num_layers, layer_norm=RMSNorm)
