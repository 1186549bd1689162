"""What a model's shape says about its parameters, its arithmetic and its cache of keys and values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Shape:
    """The sizes of a Qwen3 model; the names are those of ``model.architecture``.

    Example: Qwen3-14B has ``num_parameters == 14_768_307_200`` and ``kv_numbers == 81_920`` (160 KiB in bf16).
    """

    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    mlp_size: int
    tied_embeddings: bool

    @property
    def query_size(self) -> int:
        return self.num_heads * self.head_dim

    @property
    def kv_size(self) -> int:
        """Numbers of one token's keys (or values) in one layer."""
        return self.num_kv_heads * self.head_dim

    @property
    def layer_matrices(self) -> int:
        """Weights of one layer's matrices: queries, keys, values, output, and the three of the gated MLP."""
        attention = self.hidden_size * (self.query_size + 2 * self.kv_size) + self.query_size * self.hidden_size
        return attention + 3 * self.hidden_size * self.mlp_size

    @property
    def layer_norms(self) -> int:
        return 2 * self.hidden_size + 2 * self.head_dim

    @property
    def embedding(self) -> int:
        return self.vocab_size * self.hidden_size

    @property
    def num_parameters(self) -> int:
        embeddings = self.embedding * (1 if self.tied_embeddings else 2)
        return self.num_layers * (self.layer_matrices + self.layer_norms) + embeddings + self.hidden_size

    @property
    def kv_numbers(self) -> int:
        """Numbers that the cache holds for one token."""
        return 2 * self.num_layers * self.kv_size

    @property
    def layer_flops(self) -> int:
        """FLOPs of one token in the matrices of all layers, forward."""
        return 2 * self.num_layers * self.layer_matrices

    @property
    def projection_flops(self) -> int:
        """FLOPs of one token in the output projection, forward."""
        return 2 * self.embedding

    @property
    def attention_flops(self) -> int:
        """FLOPs of one token for each token that it attends to (scores, then the sum of values), forward."""
        return 4 * self.num_layers * self.query_size


def shape_of(architecture: Mapping[str, Any]) -> Shape:
    """The shape that ``model.architecture`` describes."""
    return Shape(**{name: architecture[name] for name in Shape.__dataclass_fields__})
