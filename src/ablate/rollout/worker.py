"""What runs inside an engine's own worker process, where tensors of the trainer's process cannot be passed."""

from __future__ import annotations


class FileWeights:
    """Mixed into vLLM's worker (``worker_extension_cls``): adds one call, taking weights from a file."""

    def load_weights_from_file(self, path: str) -> None:
        """Replace the weights by the ``{Hugging Face name: tensor}`` that ``torch.save`` wrote to ``path``."""
        import torch

        tensors = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
        self.reload_weights(weights_iterator=iter(tensors.items()))
