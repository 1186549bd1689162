"""Transformer Engine 2.11 as Megatron-Core 0.16.1's GPT layers see it, on a CPU and without its kernels.

It has the names, arguments, attributes and communication of Transformer Engine's Python surface, read from its source.
Kernels, rounding, memory use and NCCL are not Transformer Engine's. Call ``install()`` before Megatron is imported.
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import sys
import types
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

CALLS: list[Any] = []  # what ran, in order; tests look at it


def install() -> None:
    """Put the modules into ``sys.modules``, and make ``importlib.util.find_spec`` find the package."""
    from fused_adam_double import FusedAdamDouble

    package = module("transformer_engine", __version__="2.11.0")
    package.__spec__ = importlib.machinery.ModuleSpec("transformer_engine", None, is_package=True)
    module("transformer_engine.common")
    module("transformer_engine.common.recipe", **{name: type(name, (), {}) for name in RECIPES})
    module(
        "transformer_engine.pytorch",
        Linear=Linear,
        LayerNormLinear=LayerNormLinear,
        RMSNorm=RMSNorm,
        LayerNorm=NotForQwen3,
        DotProductAttention=DotProductAttention,
        GroupedLinear=type("GroupedLinear", (torch.nn.Module,), {}),
        fp8_model_init=None,
    )
    module("transformer_engine.pytorch.fp8", FP8GlobalStateManager=FP8GlobalStateManager, fp8_autocast=None)
    module(
        "transformer_engine.pytorch.distributed",
        CudaRNGStatesTracker=type("CudaRNGStatesTracker", (), {}),
        checkpoint=None,
        activation_recompute_forward=contextlib.nullcontext,
        is_fp8_activation_recompute_enabled=lambda: False,
    )
    module("transformer_engine.pytorch.attention")
    module("transformer_engine.pytorch.attention.rope", apply_rotary_pos_emb=apply_rotary_pos_emb)
    module(
        "transformer_engine.pytorch.cpu_offload",
        get_cpu_offload_context=lambda *unused: (contextlib.nullcontext(), None),
    )
    module("transformer_engine.pytorch.module")
    module(
        "transformer_engine.pytorch.module.base",
        get_dummy_wgrad=lambda shape, dtype, zero=False: torch.zeros(shape, dtype=dtype),
        TransformerEngineBaseModule=type("TransformerEngineBaseModule", (), {}),
    )
    module("transformer_engine.pytorch.tensor", QuantizedTensor=type("QuantizedTensor", (), {}))
    module(
        "transformer_engine.pytorch.optimizers",
        FusedAdam=FusedAdamDouble,
        FusedSGD=torch.optim.SGD,
        multi_tensor_applier=lambda operation, buffer, lists, *rest: operation(65536, buffer, lists, *rest),
        multi_tensor_scale=multi_tensor_scale,
        multi_tensor_l2norm=multi_tensor_l2norm,
    )
    for name in ("ops", "router", "permutation", "cross_entropy", "cpp_extensions", "float8_tensor"):
        register(AnyName(f"transformer_engine.pytorch.{name}"))


RECIPES = (
    "DelayedScaling",
    "Format",
    "Float8CurrentScaling",
    "Float8BlockScaling",
    "MXFP8BlockScaling",
    "NVFP4BlockScaling",
    "Recipe",
)


def module(name: str, **contents: Any) -> types.ModuleType:
    made = types.ModuleType(name)
    made.__dict__.update(contents)
    return register(made)


def register(made: types.ModuleType) -> types.ModuleType:
    made.__path__ = []  # a package: it may have modules of its own
    sys.modules[made.__name__] = made
    parent, _, name = made.__name__.rpartition(".")
    if parent:
        setattr(sys.modules[parent], name, made)
    return made


class AnyName(types.ModuleType):
    """A module whose every name is an empty class: Megatron imports the names and never uses them here."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


class NotForQwen3:
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError


class FP8GlobalStateManager:
    @staticmethod
    def is_fp8_enabled() -> bool:
        return False


class ExtraState:
    """Every layer of Transformer Engine has an extra state in checkpoints, empty without FP8."""

    def get_extra_state(self) -> Tensor:
        return torch.empty(0, dtype=torch.uint8)

    def set_extra_state(self, state: Any) -> None:
        return None


def split_weight(rows: int, columns: int, dimension: int, dtype: Any, device: str, init_method: Any) -> Tensor:
    assert device == "cpu", device
    weight = torch.nn.Parameter(torch.empty(rows, columns, dtype=dtype, device=device))
    init_method(weight)
    weight.tensor_model_parallel, weight.partition_dim, weight.partition_stride = True, dimension, 1
    return weight


class Linear(ExtraState, torch.nn.Module):
    """A matrix product, split by columns or by rows; a row-split one sums its output over the tensor group."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        sequence_parallel: bool = False,
        fuse_wgrad_accumulation: bool = False,
        tp_group: Any = None,
        tp_size: int = 1,
        get_rng_state_tracker: Any = None,
        rng_tracker_name: str | None = None,
        init_method: Any = None,
        bias: bool = True,
        return_bias: bool = False,
        params_dtype: Any = None,
        parallel_mode: str | None = None,
        device: str = "cuda",
        symmetric_ar_type: str | None = None,
    ) -> None:
        super().__init__()
        assert not bias
        self.tp_group, self.tp_size, self.use_bias, self.parallel_mode = tp_group, tp_size, bias, parallel_mode
        self.sequence_parallel = sequence_parallel and tp_size > 1
        self.in_features = in_features // (tp_size if parallel_mode == "row" else 1)
        self.out_features = out_features // (tp_size if parallel_mode == "column" else 1)
        dimension = 1 if parallel_mode == "row" else 0
        self.weight = split_weight(self.out_features, self.in_features, dimension, params_dtype, device, init_method)

    def forward(self, x: Tensor, is_first_microbatch: bool | None = None) -> Tensor:
        from megatron.core.tensor_parallel import mappings

        CALLS.append("linear")
        y = F.linear(x, self.weight)
        if self.parallel_mode != "row" or self.tp_size == 1:
            return y
        if self.sequence_parallel:
            return mappings.reduce_scatter_to_sequence_parallel_region(y, group=self.tp_group)
        return mappings.reduce_from_tensor_model_parallel_region(y, group=self.tp_group)


class LayerNormLinear(ExtraState, torch.nn.Module):
    """A norm, then a matrix product split by columns; under sequence parallelism it gathers the normed input."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        eps: float = 1e-5,
        sequence_parallel: bool = False,
        fuse_wgrad_accumulation: bool = False,
        tp_group: Any = None,
        tp_size: int = 1,
        get_rng_state_tracker: Any = None,
        init_method: Any = None,
        bias: bool = True,
        normalization: str = "LayerNorm",
        return_bias: bool = False,
        params_dtype: Any = None,
        parallel_mode: str | None = None,
        return_layernorm_output: bool = False,
        zero_centered_gamma: bool = False,
        device: str = "cuda",
        symmetric_ar_type: str | None = None,
    ) -> None:
        super().__init__()
        assert normalization == "RMSNorm"
        assert not bias
        self.eps, self.use_bias, self.tp_group, self.tp_size = eps, bias, tp_group, tp_size
        self.sequence_parallel = sequence_parallel and tp_size > 1
        self.in_features, self.out_features = in_features, out_features // tp_size
        self.layer_norm_weight = torch.nn.Parameter(torch.ones(in_features, dtype=params_dtype, device=device))
        self.layer_norm_weight.sequence_parallel = sequence_parallel
        self.weight = split_weight(self.out_features, in_features, 0, params_dtype, device, init_method)

    def forward(self, x: Tensor, is_first_microbatch: bool | None = None) -> Tensor:
        from megatron.core.tensor_parallel import mappings

        CALLS.append("norm_linear")
        x = F.rms_norm(x, (x.shape[-1],), self.layer_norm_weight, self.eps)
        if self.sequence_parallel:
            x = mappings.gather_from_sequence_parallel_region(x, group=self.tp_group)
        elif self.tp_size > 1:
            x = mappings.copy_to_tensor_model_parallel_region(x, group=self.tp_group)
        return F.linear(x, self.weight)


class RMSNorm(ExtraState, torch.nn.Module):
    def __init__(
        self,
        normalized_shape: Any = None,
        eps: float = 1e-5,
        sequence_parallel: bool | None = None,
        params_dtype: Any = None,
        zero_centered_gamma: bool = False,
        hidden_size: int | None = None,
        device: Any = None,
    ) -> None:
        super().__init__()
        self.eps = eps
        self.weight = torch.nn.Parameter(torch.ones(hidden_size, dtype=params_dtype, device=device))
        self.weight.sequence_parallel = sequence_parallel

    def forward(self, x: Tensor) -> Tensor:
        CALLS.append("norm")
        return F.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


class DotProductAttention(ExtraState, torch.nn.Module):
    """Causal attention over padded rows [S, B, H, D] or packed rows [N, H, D]."""

    def __init__(
        self,
        num_attention_heads: int,
        kv_channels: int,
        num_gqa_groups: int | None = None,
        attention_dropout: float = 0.1,
        qkv_format: str = "sbhd",
        attn_mask_type: str = "causal",
        window_size: Any = None,
        sequence_parallel: bool = False,
        tp_size: int = 1,
        get_rng_state_tracker: Any = None,
        tp_group: Any = None,
        layer_number: int | None = None,
        attention_type: str = "self",
        cp_group: Any = None,
        cp_global_ranks: Any = None,
        cp_stream: Any = None,
        cp_comm_type: str = "p2p",
        softmax_scale: float | None = None,
        softmax_type: str = "vanilla",
        return_max_logit: bool = False,
    ) -> None:
        super().__init__()
        self.register_load_state_dict_post_hook(forget_missing_extra_state)

    def forward(
        self,
        query_layer: Tensor,
        key_layer: Tensor,
        value_layer: Tensor,
        attention_mask: Tensor | None = None,
        qkv_format: str | None = None,
        cu_seqlens_q: Tensor | None = None,
        cu_seqlens_kv: Tensor | None = None,
        cu_seqlens_q_padded: Tensor | None = None,
        cu_seqlens_kv_padded: Tensor | None = None,
        max_seqlen_q: int | None = None,
        max_seqlen_kv: int | None = None,
        attn_mask_type: str | None = None,
    ) -> Tensor:
        CALLS.append(("attention", qkv_format, attn_mask_type, query_layer.dim()))
        layers = (query_layer, key_layer, value_layer)
        if qkv_format == "thd":
            assert attn_mask_type == "padding_causal"
            assert query_layer.dim() == 3
            assert cu_seqlens_q.dtype == torch.int32
            assert int(cu_seqlens_q[-1]) == len(query_layer)
            lengths = cu_seqlens_q.diff().tolist()
            assert max_seqlen_q == max(lengths)
            rows = zip(*(layer.split(lengths) for layer in layers), strict=True)
            return torch.cat([attend(*row) for row in rows]).flatten(1)
        assert attn_mask_type == "causal"
        rows = [attend(*(layer[:, row] for layer in layers)) for row in range(query_layer.shape[1])]
        return torch.stack(rows, dim=1).flatten(2)


def forget_missing_extra_state(attention: torch.nn.Module, keys: Any) -> None:
    for key in list(keys.missing_keys):
        if "core_attention._extra_state" in key:
            keys.missing_keys.remove(key)


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """One row, [S, H, D]."""
    heads = (each.transpose(0, 1)[None] for each in (query, key, value))
    return F.scaled_dot_product_attention(*heads, is_causal=True, enable_gqa=True)[0].transpose(0, 1)


def rotated(x: Tensor, angles: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    other = torch.cat((-x[..., half:], x[..., :half]), dim=-1)
    return x * angles.cos().to(x.dtype) + other * angles.sin().to(x.dtype)


def apply_rotary_pos_emb(
    t: Tensor,
    freqs: Tensor,
    tensor_format: str = "sbhd",
    start_positions: Tensor | None = None,
    interleaved: bool = False,
    fused: bool = False,
    cu_seqlens: Tensor | None = None,
    cp_size: int = 1,
    cp_rank: int = 0,
) -> Tensor:
    assert fused
    CALLS.append(("rope", tensor_format))
    if tensor_format == "thd":
        return torch.cat([rotated(row, freqs[: len(row), 0]) for row in t.split(cu_seqlens.diff().tolist())])
    return rotated(t, freqs[: len(t)])


def multi_tensor_scale(chunk_size: int, overflow: Tensor, lists: Any, scale: float) -> None:
    for source, target in zip(*lists, strict=True):
        target.copy_(source * scale)


def multi_tensor_l2norm(chunk_size: int, overflow: Tensor, lists: Any, per_tensor: bool) -> tuple[Tensor, Tensor]:
    norms = [tensor.float().norm() for tensor in lists[0]]
    return (torch.stack(norms).norm()[None] if norms else torch.zeros(1)), torch.zeros(0)
