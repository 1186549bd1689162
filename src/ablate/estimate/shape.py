"""What a model's shape says about its parameters, its arithmetic and its cache of keys and values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ablate.models.architecture import Architecture


class Shape(Architecture):
    """A model with the sizes that follow from its shape.

    Example: Qwen3-14B has ``num_parameters == 14_768_307_200`` and ``kv_numbers == 81_920`` (160 KiB in bf16).
    """

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
    def layer_vectors(self) -> int:
        """Weights of one layer that are no matrices: norms, and the biases of Qwen2 or the norms of Qwen3's heads."""
        of_family = self.query_size + 2 * self.kv_size if self.family == "qwen2" else 2 * self.head_dim
        return 2 * self.hidden_size + of_family

    @property
    def embedding(self) -> int:
        return self.vocab_size * self.hidden_size

    @property
    def num_parameters(self) -> int:
        embeddings = self.embedding * (1 if self.tied_embeddings else 2)
        return self.num_layers * (self.layer_matrices + self.layer_vectors) + embeddings + self.hidden_size

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
    return Shape(**architecture)
