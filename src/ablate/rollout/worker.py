"""What runs inside an engine's worker: weights replaced in place, from an iterator, a file or a directory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class WeightReplacement:
    """Mixed into vLLM's worker (``worker_extension_cls``); ``self`` is the worker."""

    def replace_weights(self, tensors: Iterator[tuple[str, Tensor]]) -> None:
        """Take ``(Hugging Face name, tensor)`` pairs from this process."""
        self.reload_weights(weights_iterator=tensors)
        self._repack_tied_head()

    def replace_weights_from_file(self, path: str) -> None:
        """Take the ``{Hugging Face name: tensor}`` that ``torch.save`` wrote to ``path``."""
        import torch

        tensors = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
        self.replace_weights(iter(tensors.items()))

    def replace_weights_from_directory(self, path: str) -> None:
        """Take the weights of a Hugging Face directory."""
        self.reload_weights(weights_path=path)
        self._repack_tied_head()

    def _repack_tied_head(self) -> None:
        """Bring the output projection up to date where it shares the embedding's weights.

        On a CPU vLLM 0.31 multiplies by a packed copy that it made at the first load. A reload packs again every layer
        that a checkpoint names; a tied head is named by none, and would keep the old weights without a word.
        """
        model = self.model_runner.get_model()
        head = getattr(model, "lm_head", None)
        if not model.config.tie_word_embeddings or not hasattr(head, "quant_method"):
            return  # not tied, or on another pipeline stage
        embedding = model.model.embed_tokens
        if head.weight.data_ptr() != embedding.weight.data_ptr():
            raise RuntimeError("vLLM untied the output projection from the embedding during a reload")
        head.quant_method.process_weights_after_loading(head)
