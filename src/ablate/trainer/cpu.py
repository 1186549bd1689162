"""Megatron-Core without a GPU: the CPU answers its CUDA calls, and no other package sees the difference.

Every ``megatron.*`` module gets its own view of ``torch`` in which CUDA devices mean the CPU. The real ``torch``, which
vLLM and transformers use in the same process, stays as it is (wrapping its factories breaks ``torch.device("meta")``
and lets ``from_pretrained`` return a wrong model without an error). Where CUDA exists, this file changes nothing.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import torch

from ablate.process.importing import without_collecting_garbage

MODULES = (
    "megatron.core",
    "megatron.core.parallel_state",
    "megatron.core.dist_checkpointing",
    "megatron.core.dist_checkpointing.strategies.async_utils",
    "megatron.core.dist_checkpointing.strategies.fully_parallel",
    "megatron.core.dist_checkpointing.strategies.torch",
    "megatron.core.distributed",
    "megatron.core.models.gpt",
    "megatron.core.models.gpt.gpt_layer_specs",
    "megatron.core.optimizer",
    "megatron.core.optimizer.distrib_optimizer",
    "megatron.core.optimizer_param_scheduler",
    "megatron.core.pipeline_parallel",
    "megatron.core.tensor_parallel.random",
)

# Warnings of Megatron at import when Transformer Engine and Apex are absent, which is always so on a CPU.
EXPECTED_WARNINGS = (
    r"Transformer Engine and Apex are not installed\. Falling back",
    r"Apex is not installed\. Falling back to Torch Norm",
    r"transformer_engine is not installed",
)

# Warnings of torch about deprecated names that Megatron still uses.
EXPECTED_WHILE_RUNNING = (
    r"`torch\.distributed\.(reduce_scatter_tensor|all_gather_into_tensor)` is deprecated",
    r"The \.grad attribute of a Tensor that is not a leaf Tensor is being accessed",  # the distributed optimizer's norm
    r"`load_state_dict` is deprecated",
    r"Please use DTensor instead",
)

FACTORIES = (
    *("arange", "empty", "empty_like", "eye", "full", "full_like", "ones", "ones_like"),
    *("rand", "randn", "tensor", "zeros", "zeros_like"),
)

CPU = torch.device("cpu")


def import_megatron() -> None:
    """Import Megatron-Core; on a machine without CUDA, map its CUDA onto the CPU. May be called again."""
    # CUDA reads this when it starts; Megatron's overlap of products with collectives needs their order in one queue.
    os.environ.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", "1")
    # Every micro-batch has another length: without expandable segments the caching allocator's blocks fit the next one
    # badly. Torch reads this before its first allocation on a GPU.
    os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
    if not torch.cuda.is_available():
        for name in ("transformer_engine", "apex"):  # even if installed: their optimizers and norms need CUDA
            sys.modules.setdefault(name, None)
    with warnings.catch_warnings():
        for message in EXPECTED_WARNINGS:
            warnings.filterwarnings("ignore", message=message)
        with without_collecting_garbage():
            for name in MODULES:
                importlib.import_module(name)
    for message in EXPECTED_WHILE_RUNNING:
        warnings.filterwarnings("ignore", message=message)
    if torch.cuda.is_available():
        return
    view = torch_on_cpu()
    for name, module in list(sys.modules.items()):
        if name.startswith("megatron.") and getattr(module, "torch", None) is torch:
            module.torch = view
    random = sys.modules["megatron.core.tensor_parallel.random"]
    # It calls into the CUDA generators of torch._C, which a CPU build does not have.
    random._set_cuda_rng_state = lambda state, device=-1, graph_safe=False: torch.set_rng_state(state)


@functools.cache
def torch_on_cpu() -> ModuleType:
    """Return a view of ``torch`` in which the CUDA devices, streams and generators are those of the CPU."""
    view = copy_module(torch)
    for name in FACTORIES:
        setattr(view, name, on_cpu(getattr(torch, name)))
    view.cuda = cuda_on_cpu()
    return view


def cuda_on_cpu() -> ModuleType:
    view = copy_module(torch.cuda)
    view.current_device = lambda: CPU
    view.device_count = lambda: 1
    for name in ("synchronize", "empty_cache", "set_device", "_lazy_init"):
        setattr(view, name, lambda *_: None)
    view.random = copy_module(torch.cuda.random)
    for module in (view, view.random):
        module.manual_seed = torch.manual_seed
        module.get_rng_state = lambda device=None: torch.get_rng_state()
        module.set_rng_state = lambda state, device=None: torch.set_rng_state(state)
    return view


def copy_module(module: ModuleType) -> ModuleType:
    copy = ModuleType(module.__name__)
    copy.__dict__.update(module.__dict__)
    return copy


def on_cpu(factory: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(factory)
    def create(*args: Any, device: Any = None, pin_memory: bool = False, **options: Any) -> Any:
        return factory(*args, device=CPU if is_cuda(device) else device, **options)  # nothing to pin memory for

    return create


def is_cuda(device: Any) -> bool:
    if isinstance(device, int):
        return True
    return device is not None and str(device).startswith("cuda")


@contextlib.contextmanager
def answering_for_cuda() -> Iterator[None]:
    """While Megatron runs: ``tensor.cuda()`` is the tensor, and ``tensor.type()`` names the CUDA type.

    Its optimizers assert ``grad.type() == "torch.cuda.FloatTensor"``; both are methods of ``torch.Tensor``, which
    cannot be viewed per module, so they are replaced for as long as the call lasts.
    """
    if torch.cuda.is_available() or torch.Tensor.type is cuda_type:
        yield
        return
    torch.Tensor.type, torch.Tensor.cuda = cuda_type, stay
    try:
        yield
    finally:
        torch.Tensor.type, torch.Tensor.cuda = REAL_TYPE, REAL_CUDA


REAL_TYPE, REAL_CUDA = torch.Tensor.type, torch.Tensor.cuda


def cuda_type(tensor: torch.Tensor, dtype: Any = None, non_blocking: bool = False, **options: Any) -> Any:
    if dtype is None:
        return REAL_TYPE(tensor).replace("torch.", "torch.cuda.", 1)
    return REAL_TYPE(tensor, dtype, non_blocking, **options)


def stay(tensor: torch.Tensor, device: Any = None, non_blocking: bool = False) -> torch.Tensor:
    return tensor
