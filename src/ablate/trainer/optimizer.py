"""Megatron's data parallelism, AdamW and learning-rate schedule, from the configuration."""

from __future__ import annotations

import math

from ablate.config import OptimConfig, ParallelConfig
from ablate.errors import UserError
from ablate.trainer import cpu
from ablate.trainer.model.policy import DTYPES, PolicyModel
from ablate.trainer.model.user_fields import built

cpu.import_megatron()

from megatron.core.distributed import (  # noqa: E402
    DistributedDataParallel,
    DistributedDataParallelConfig,
    finalize_model_grads,
)
from megatron.core.optimizer import MegatronOptimizer, OptimizerConfig, get_megatron_optimizer  # noqa: E402
from megatron.core.optimizer import optimizer_config as of_optimizer  # noqa: E402
from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler  # noqa: E402
from megatron.core.utils import get_te_version  # noqa: E402

if get_te_version() is None:  # which Megatron compares with a number
    of_optimizer.is_te_min_version = lambda *_, **__: False


def wrap_data_parallel(model: PolicyModel, parallel: ParallelConfig) -> DistributedDataParallel:
    """Gradients are summed over data-parallel ranks in fp32; nothing divides them."""
    config = DistributedDataParallelConfig(
        grad_reduce_in_fp32=True,
        use_distributed_optimizer=parallel.distributed_optimizer,
        overlap_grad_reduce=False,
    )
    wrapped = DistributedDataParallel(model.config, config, model)
    model.config.finalize_model_grads_func = finalize_without_dividing
    return wrapped


def finalize_without_dividing(models, num_tokens, pg_collection=None, force_all_reduce=False):
    """Megatron would divide by a token count; the weights of a batch sum to 1 already."""
    finalize_model_grads(models, None, pg_collection=pg_collection, force_all_reduce=force_all_reduce)


def optimizer_config(parallel: ParallelConfig, optim: OptimConfig) -> OptimizerConfig:
    if parallel.megatron.get("optimizer_cpu_offload") and not (
        parallel.distributed_optimizer and parallel.precision == "bf16"
    ):
        raise UserError(
            "parallel.megatron.optimizer_cpu_offload=true moves the state of Megatron's distributed optimizer for bf16 "
            "weights only: set parallel.distributed_optimizer=true and parallel.precision=bf16, or leave it out"
        )
    own = {
        "optimizer": "adam",
        "lr": optim.lr,
        "min_lr": optim.min_lr,
        "weight_decay": optim.weight_decay,
        "adam_beta1": optim.beta1,
        "adam_beta2": optim.beta2,
        "adam_eps": optim.eps,
        "clip_grad": optim.clip_grad or math.inf,  # with 0 Megatron would not measure the norm
        "bf16": parallel.precision == "bf16",
        "params_dtype": DTYPES[parallel.precision],
        "use_distributed_optimizer": parallel.distributed_optimizer,
    }
    return built(OptimizerConfig, own, parallel.megatron)


def build_optimizer(model: DistributedDataParallel, parallel: ParallelConfig, optim: OptimConfig) -> MegatronOptimizer:
    return get_megatron_optimizer(optimizer_config(parallel, optim), [model])


def build_scheduler(optimizer: MegatronOptimizer, optim: OptimConfig, total_updates: int) -> OptimizerParamScheduler:
    """Linear warm-up to ``lr``, then constant, or a cosine to ``min_lr`` at ``total_updates``; one step per update."""
    decay_steps = max(total_updates, optim.warmup_steps + 1)  # a short run may end within its warm-up
    return OptimizerParamScheduler(
        optimizer,
        init_lr=0.0,
        max_lr=optim.lr,
        min_lr=optim.min_lr,
        lr_warmup_steps=optim.warmup_steps,
        lr_decay_steps=decay_steps,
        lr_decay_style=optim.schedule,
        start_wd=optim.weight_decay,
        end_wd=optim.weight_decay,
        wd_incr_steps=decay_steps,
        wd_incr_style="constant",
        use_checkpoint_opt_param_scheduler=False,
        override_opt_param_scheduler=True,
    )
