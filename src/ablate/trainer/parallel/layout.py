"""Checks that a layout fits the model, the processes and the packages, before anything slow begins."""

from __future__ import annotations

import importlib.util
import math

from ablate.config import ParallelConfig
from ablate.errors import UserError
from ablate.models.architecture import Architecture

FP8_BLOCK = 16  # FP8 matrix products need both dimensions of a weight to be multiples of this
FP8_TOKENS = 32  # and the number of tokens to be a multiple of this (block-scaled recipes; other recipes need 16)


def check_layout(architecture: Architecture, parallel: ParallelConfig, trains_here: bool = True) -> None:
    """Raise ``UserError`` for the first dimension of the model that is not divisible by the size that splits it.

    Args:
        trains_here: whether this machine will train, so that its packages matter.
    """
    for name, value, key, size in (
        ("attention heads", architecture.num_heads, "tensor", parallel.tensor),
        ("key/value heads", architecture.num_kv_heads, "tensor", parallel.tensor),
        ("MLP columns", architecture.mlp_size, "tensor", parallel.tensor),
        ("words of the vocabulary", architecture.vocab_size, "tensor", parallel.tensor),
        ("layers", architecture.num_layers, "pipeline", parallel.pipeline),
    ):
        if value % size:
            raise UserError(f"{value} {name} are not divisible by parallel.{key}={size}: choose a divisor of {value}")
    if parallel.sequence_parallel and parallel.tensor == 1:
        raise UserError(
            "parallel.sequence_parallel=true splits over the tensor group: set parallel.tensor to 2 or more"
        )
    check_kernels(architecture, parallel, trains_here)


def check_installed(parallel: ParallelConfig) -> None:
    """Raise ``UserError`` for kernels whose package this machine does not have."""
    if not parallel.transformer_engine:
        return
    if importlib.util.find_spec("transformer_engine") is None:
        raise UserError(
            "parallel.transformer_engine=true but the package transformer_engine is not installed: "
            "run make setup-gpu on a GPU machine, or set parallel.transformer_engine=false"
        )
    if parallel.attention == "flash" and importlib.util.find_spec("flash_attn") is None:
        raise UserError(
            "parallel.attention=flash but the package flash_attn is not installed: "
            "install it, or set parallel.attention=auto"
        )


def check_kernels(architecture: Architecture, parallel: ParallelConfig, trains_here: bool = True) -> None:
    """Raise ``UserError`` for options that need Transformer Engine's layers when those are switched off or missing."""
    if trains_here:
        check_installed(parallel)
    for key, off in (("attention", "auto"), ("fp8", "none")):
        if getattr(parallel, key) != off and not parallel.transformer_engine:
            raise UserError(
                f"parallel.{key}={getattr(parallel, key)} chooses among Transformer Engine's kernels: "
                f"set parallel.transformer_engine=true, or parallel.{key}={off}"
            )
    if parallel.fp8 == "none":
        return
    if parallel.precision != "bf16":
        raise UserError(
            f"parallel.fp8={parallel.fp8} rounds products of bf16 weights, not {parallel.precision}: "
            "set parallel.precision=bf16"
        )
    for name, value in (("hidden size", architecture.hidden_size), ("MLP columns", architecture.mlp_size)):
        if value % (FP8_BLOCK * parallel.tensor):
            raise UserError(
                f"the {name}, {value}, must be divisible by {FP8_BLOCK} x parallel.tensor={parallel.tensor} under "
                f"parallel.fp8={parallel.fp8}: lower parallel.tensor or set parallel.fp8=none"
            )


def check_world_size(parallel: ParallelConfig, size: int) -> None:
    """Raise ``UserError`` unless the ``size`` processes of the job can hold the layout."""
    model_size = parallel.tensor * parallel.pipeline * parallel.context
    if size % model_size:
        raise UserError(
            f"the number of processes, {size}, is not divisible by {model_size}, the processes per model copy "
            f"(parallel.tensor={parallel.tensor} x pipeline={parallel.pipeline} x context={parallel.context}): "
            f"launch with torchrun --nproc-per-node {model_size} or a multiple of it"
        )
    if parallel.world_size is not None and parallel.world_size != size:
        raise UserError(
            f"parallel.world_size={parallel.world_size} but {size} processes were started: "
            f"launch with torchrun --nproc-per-node {parallel.world_size} or set parallel.world_size=null"
        )


def row_multiple(parallel: ParallelConfig) -> int:
    """Every row is padded to a multiple of this: context parallelism cuts it into this many parts."""
    return 2 * parallel.context if parallel.context > 1 else 1


def sequence_multiple(parallel: ParallelConfig) -> int:
    """Each micro-batch (a padded row, or packed rows) is padded to a multiple of this: ranks split its tokens."""
    shares = parallel.tensor if parallel.sequence_parallel else 1
    if parallel.fp8 != "none":
        shares *= FP8_TOKENS
    return math.lcm(row_multiple(parallel), parallel.context * shares)
