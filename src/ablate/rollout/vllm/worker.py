"""What runs inside an engine's worker: weights and positions replaced in place, and the CPU backend's kernels."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from vllm.config import set_current_vllm_config
from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory
from vllm.model_executor.layers.rotary_embedding.base import RotaryEmbedding, RotaryEmbeddingBase
from vllm.model_executor.layers.rotary_embedding.yarn_scaling_rope import YaRNScalingRotaryEmbedding
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload

from ablate.process.parents import end_with
from ablate.rollout.weights.shared import machine_name

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


# vLLM imports this module in every worker before it makes the engine that --weight-transfer-config names.
WeightTransferEngineFactory.register_engine("ablate", "ablate.rollout.vllm.receiver", "Receiver")


class WorkerExtension:
    """Mixed into vLLM's worker (``worker_extension_cls``); ``self`` is the worker."""

    def replace_weights(self, tensors: Iterator[tuple[str, Tensor]]) -> None:
        """Take ``(Hugging Face name, tensor)`` pairs from this process."""
        self.reload_weights(weights_iterator=tensors)
        repack_tied_head(self.model_runner.get_model())

    def replace_weights_from_file(self, path: str) -> None:
        """Take the ``{Hugging Face name: tensor}`` that ``torch.save`` wrote to ``path``."""
        tensors = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
        self.replace_weights(iter(tensors.items()))

    def replace_weights_from_directory(self, path: str) -> None:
        """Take the weights of a Hugging Face directory."""
        self.reload_weights(weights_path=path)
        repack_tied_head(self.model_runner.get_model())

    def use_positions(self, yarn: dict[str, Any] | None) -> None:
        """Write the rotations that YaRN's parameters give, or without them the model's own, over the present table.

        The table keeps its storage, so CUDA graphs that read it stay valid. Keys that are cached keep their old
        rotations: reset the prefix cache.

        Args:
            yarn: ``rope_parameters`` of a Hugging Face config.json.
        """
        model = self.model_runner.get_model()
        modules = {module for module in model.modules() if isinstance(module, RotaryEmbeddingBase)}
        if not modules or {type(module) for module in modules} != {RotaryEmbedding}:
            found = sorted({type(module).__name__ for module in modules})
            raise ValueError(f"positions can be stretched where the model has vLLM's RotaryEmbedding, not {found}")
        if any(module.cos_sin_cache.is_meta for module in modules):
            # An interrupted update left the layers without memory, and what is written there is lost.
            with set_current_vllm_config(self.vllm_config):
                finalize_layerwise_reload(model, self.model_config)
        with torch.inference_mode(), set_current_vllm_config(self.vllm_config), torch.device(self.device):
            for module in modules:
                table = rotations(module, yarn)
                module.cos_sin_cache[: len(table)] = table

    def is_alive(self) -> bool:
        """Answer at all: a client calls this to tell a slow server from one that hangs."""
        return True

    def device_kind(self) -> str:
        """``cuda`` or ``cpu``: which group can carry weights to this worker."""
        return self.device.type

    def machine_name(self) -> str:
        """Names the machine whose memory this worker can read weights from."""
        return machine_name()

    def make_room(self, num_bytes: int) -> None:
        """Find out whether there is memory for a message, before the trainer waits for this worker in one.

        The allocator keeps what it found for the message.
        """
        torch.empty(num_bytes, dtype=torch.uint8, device=self.device)

    def end_interrupted_update(self) -> None:
        """Let the next weight update start, although an earlier one never ended."""
        self._weight_update_active = False

    def end_with_parent(self) -> None:
        """On Linux: end when the process that started this one does, however it ends.

        Without this, a trainer that is killed outright (kill -9, out of memory) would leave a running engine behind.
        """
        end_with(os.getppid())

    def use_norm_kernels(self) -> None:
        """On a CPU, compute RMS norms with vLLM's compiled kernels instead of five PyTorch operations each.

        vLLM's CPU backend has the kernels but does not choose them. A small model spends a ninth of its decoding time
        on the PyTorch operations.
        """
        for module in self.model_runner.get_model().modules():
            if type(module).__name__ == "RMSNorm" and module.has_weight and module.variance_size_override is None:
                module.forward = norm_by_kernel(module)


def rotations(module: RotaryEmbedding, yarn: dict[str, Any] | None) -> Tensor:
    """Cosines and sines of every position, as vLLM computes them when it starts a model with these parameters."""
    if yarn is None:
        return module._compute_cos_sin_cache().to(module.dtype)
    original = yarn["original_max_position_embeddings"]
    betas = {name: yarn[name] for name in ("beta_fast", "beta_slow") if name in yarn}
    stretched = YaRNScalingRotaryEmbedding(
        module.head_size,
        module.rotary_dim,
        original,
        yarn["rope_theta"],
        module.is_neox_style,
        yarn["factor"],
        module.dtype,
        **betas,
    )
    return stretched.cos_sin_cache[: module.max_position_embeddings]


def norm_by_kernel(norm: Module) -> Callable[..., Tensor | tuple[Tensor, Tensor]]:
    """The forward of vLLM's ``RMSNorm``: x, or with a residual (x + residual, normalised) and (x + residual)."""

    def forward(x: Tensor, residual: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        if residual is not None:
            torch.ops._C.fused_add_rms_norm(x, residual, norm.weight, norm.variance_epsilon)  # both in place
            return x, residual
        x = x.contiguous()  # the kernel reads heads split from a larger tensor as if they were contiguous
        out = torch.empty_like(x)
        torch.ops._C.rms_norm(out, x, norm.weight, norm.variance_epsilon)
        return out

    return forward


def repack_tied_head(model: Module) -> None:
    """Bring the output projection up to date where it shares the embedding's weights.

    On a CPU vLLM 0.31 multiplies by a packed copy that it made at the first load. A reload repacks every layer that
    a checkpoint names. No checkpoint names a tied head, so it would silently keep the old weights.
    """
    head = getattr(model, "lm_head", None)
    if not model.config.tie_word_embeddings or not hasattr(head, "quant_method"):
        return  # not tied, or on another pipeline stage
    if head.weight.data_ptr() != model.model.embed_tokens.weight.data_ptr():
        raise RuntimeError("vLLM untied the output projection from the embedding during a reload")
    head.quant_method.process_weights_after_loading(head)
