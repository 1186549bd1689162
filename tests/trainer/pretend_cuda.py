"""A device that is not the CPU, where there is none: tensors sent to CUDA stay in memory and are remembered as sent.

An operation on tensors of both devices raises, as it would on a GPU; so does reading a CUDA tensor as numpy. What a GPU
computes differently (kernels, rounding, NCCL) this cannot show: it shows tensors that were left behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from ablate.trainer import cpu
from ablate.trainer.parallel import world

CUDA = torch.device("cuda", 0)
CROSSING = {torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default}
MAY_INDEX_FROM_CPU = {
    torch.ops.aten.index.Tensor: 1,
    torch.ops.aten.index_put.default: 1,
    torch.ops.aten.index_put_.default: 1,
}


class Sent:
    """The storages that are on the pretended device. A weak reference keeps an address from being used again."""

    def __init__(self) -> None:
        self._storages: dict[int, StorageWeakRef] = {}

    def add(self, result: Any) -> Any:
        for tensor in tensors_in(result):
            reference = StorageWeakRef(tensor.untyped_storage())
            self._storages[reference.cdata] = reference
        return result

    def __contains__(self, tensor: torch.Tensor) -> bool:
        return StorageWeakRef(tensor.untyped_storage()).cdata in self._storages


def tensors_in(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


class Devices(TorchDispatchMode):
    """Every operation: its tensors are on one device, and so is its result. A single number may stay on the CPU."""

    def __init__(self, sent: Sent) -> None:
        super().__init__()
        self.sent = sent

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        checked = args[:1] if func in MAY_INDEX_FROM_CPU else args
        given = tensors_in((checked, kwargs))
        where = [tensor in self.sent for tensor in given]
        on_device = any(where)
        if func in CROSSING:
            on_device = where[0]
        elif on_device:
            left = [t for t, is_there in zip(given, where, strict=True) if not is_there and t.dim() > 0]
            if left:
                shapes = [tuple(tensor.shape) for tensor in left]
                raise RuntimeError(f"{func}: tensors of shape {shapes} are on the CPU, the others on {CUDA}")
        result = func(*args, **kwargs)
        return self.sent.add(result) if on_device else result


class Naming(TorchFunctionMode):
    """Every call that names a device: CUDA is the pretended one."""

    def __init__(self, sent: Sent) -> None:
        super().__init__()
        self.sent = sent

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func == torch.Tensor.device.__get__:
            return CUDA if args[0] in self.sent else func(*args)
        if func == torch.Tensor.is_cuda.__get__:
            return args[0] in self.sent
        if func is torch.Tensor.numpy and args[0] in self.sent:
            raise TypeError("can't convert a CUDA tensor to numpy")
        if func is cpu.cuda_type:  # torch looks the method up by name, and finds the one that called it
            return cpu.REAL_TYPE(*args, **kwargs)
        named = [device for leaf in tree_leaves((args, kwargs)) if (device := device_of(leaf)) is not None]
        to_cpu = func is torch.Tensor.cpu or (func is torch.Tensor.to and any(d.type == "cpu" for d in named))
        if to_cpu and args[0] in self.sent:
            host = torch.empty(args[0].shape, dtype=args[0].dtype)
            return host.copy_(args[0])
        if not any(device.type == "cuda" for device in named) or func.__name__ == "_parse_to":  # it only reads a call
            return func(*args, **kwargs)
        args, kwargs = tree_map(lambda leaf: cpu_of(leaf), (args, kwargs))
        if func is torch.Tensor.to:
            if args[0] in self.sent:
                return func(*args, **kwargs)
            kwargs["copy"] = True
        return self.sent.add(func(*args, **kwargs))


def device_of(leaf: Any) -> torch.device | None:
    if isinstance(leaf, str) and leaf.split(":")[0] in ("cpu", "cuda"):
        return torch.device(leaf)
    return leaf if isinstance(leaf, torch.device) else None


def cpu_of(leaf: Any) -> Any:
    return leaf if device_of(leaf) is None else torch.device("cpu")


@contextmanager
def pretended_cuda(monkeypatch: pytest.MonkeyPatch, sent: Sent | None = None) -> Iterator[None]:
    """Run the block as a process whose device is a GPU; ``sent``: of a block before, which this one continues."""
    sent = sent or Sent()
    with monkeypatch.context() as patch, Naming(sent), Devices(sent):
        patch.setattr(cpu, "CPU", CUDA)  # where Megatron's CUDA is mapped
        patch.setattr(world, "own_device", lambda: CUDA)
        yield
