"""What runs inside an engine's worker: weights replaced in place, and the kernels of the CPU backend."""

from __future__ import annotations

import ctypes
import signal
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


PR_SET_PDEATHSIG = 1  # linux/prctl.h


class WorkerExtension:
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

        On a CPU vLLM 0.31 multiplies by a packed copy that it made at the first load. A reload repacks every layer that
        a checkpoint names. No checkpoint names a tied head, so it would silently keep the old weights.
        """
        model = self.model_runner.get_model()
        head = getattr(model, "lm_head", None)
        if not model.config.tie_word_embeddings or not hasattr(head, "quant_method"):
            return  # not tied, or on another pipeline stage
        embedding = model.model.embed_tokens
        if head.weight.data_ptr() != embedding.weight.data_ptr():
            raise RuntimeError("vLLM untied the output projection from the embedding during a reload")
        head.quant_method.process_weights_after_loading(head)

    def end_with_parent(self) -> None:
        """On Linux: end when the process that started this one does, however it ends.

        Without this, a trainer that is killed outright (kill -9, out of memory) would leave a running engine behind.
        """
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    def use_norm_kernels(self) -> None:
        """On a CPU, compute RMS norms with vLLM's compiled kernels instead of five PyTorch operations each.

        vLLM's CPU backend has the kernels but does not choose them. A small model spends a ninth of its decoding time
        on the PyTorch operations.
        """
        for module in self.model_runner.get_model().modules():
            if type(module).__name__ == "RMSNorm" and module.has_weight and module.variance_size_override is None:
                module.forward = norm_by_kernel(module)


def norm_by_kernel(norm: Module) -> Callable[..., Tensor | tuple[Tensor, Tensor]]:
    """The forward of vLLM's ``RMSNorm``: x, or with a residual (x + residual, normalised) and (x + residual)."""
    import torch

    def forward(x: Tensor, residual: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        if residual is not None:
            torch.ops._C.fused_add_rms_norm(x, residual, norm.weight, norm.variance_epsilon)  # both in place
            return x, residual
        x = x.contiguous()  # the kernel reads heads split from a larger tensor as if they were contiguous
        out = torch.empty_like(x)
        torch.ops._C.rms_norm(out, x, norm.weight, norm.variance_epsilon)
        return out

    return forward
