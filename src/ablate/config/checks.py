"""Rules that the types of the schema cannot state: choices, ranges, and fields that must fit together."""

from __future__ import annotations

import math
from typing import Any

from ablate.config.schema import ContextConfig, EvalConfig, ParallelConfig, RunConfig
from ablate.errors import UserError
from ablate.models.hf_config import yarn_factor

CHOICES = {
    "rollout.lag": (0, 1, 2),
    "rollout.groups_from": ("own", "atropos"),
    "rollout.on_short_batch": ("error", "train"),
    "rollout.engine.kind": ("vllm",),
    "rollout.engine.placement": ("auto", "inline", "child", "servers"),
    "rollout.engine.weight_transfer": ("broadcast", "file"),
    "rollout.engine.kv_cache_dtype": ("auto", "bfloat16", "float16", "fp8", "fp8_e4m3", "fp8_e5m2"),
    "rollout.engine.head_dtype": ("float32", "model"),
    "optim.schedule": ("constant", "cosine"),
    "optim.old_logp": ("trainer", "rollout"),
    "parallel.precision": ("fp32", "bf16"),
    "parallel.attention": ("auto", "flash", "fused", "unfused"),
    "parallel.fp8": ("none", "e4m3", "hybrid"),
    "parallel.fp8_recipe": ("tensorwise", "blockwise", "mxfp8"),  # delayed scaling keeps a history outside checkpoints
    "parallel.recompute": ("none", "core_attn", "full"),
    "logging.wandb": ("disabled", "offline", "online"),
    "logging.display": ("auto", "live", "plain"),
}

POSITIVE = (
    "rollout.prompts_per_step",
    "rollout.atropos.silence_s",
    "rollout.atropos.max_batches_ahead",
    "rollout.samples_per_prompt",
    "rollout.max_draws",
    "rollout.temperature",
    "optim.lr",
    "optim.updates_per_batch",
    "parallel.tensor",
    "parallel.pipeline",
    "parallel.context",
    "parallel.num_threads",
    "parallel.max_tokens_per_micro_batch",
    "eval.samples_per_problem",
    "eval.temperature",
    "checkpoint.keep",
    "optim.eps",
    "parallel.collective_timeout_s",
    "parallel.leader_timeout_s",
    "parallel.silence_s",
    "parallel.logp_chunk_tokens",
    "rollout.engine.max_num_seqs",
    "rollout.engine.bucket_mib",
    "rollout.engine.silence_s",
    "rollout.engine.min_live_share",
    "rollout.engine.min_tokens_per_s",
    "rollout.engine.load_limit_s",
    "rollout.engine.num_threads",
    "eval.bootstrap_resamples",
)

NOT_NEGATIVE = (
    "rollout.infrastructure_retries",
    "optim.min_lr",
    "optim.warmup_steps",
    "optim.weight_decay",
    "optim.clip_grad",
    "optim.beta1",
    "optim.beta2",
    "eval.every",
    "checkpoint.every",
    "fork.repeat",
    "logging.completions",
)

AT_MOST_1 = ("rollout.top_p", "eval.top_p", "rollout.engine.gpu_memory_utilization", "rollout.engine.min_live_share")
BELOW_1 = ("optim.beta1", "optim.beta2")


def value_at(config: RunConfig, key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def check(config: RunConfig) -> None:
    """Raise ``UserError`` for the first rule that ``config`` breaks."""
    check_values(config)
    check_split(config)
    if config.rollout.lag and config.rollout.engine.placement == "inline":
        raise UserError(
            f"rollout.lag={config.rollout.lag} samples while the trainer works, and rollout.engine.placement=inline "
            "samples in the trainer's process: set rollout.engine.placement=child, or auto"
        )
    check_shared(config)
    if (config.fork.run is None) != (config.fork.step is None):
        raise UserError("fork.run and fork.step belong together: give both, or neither")
    if config.fork.repeat and config.fork.run is None:
        raise UserError(
            f"fork.repeat={config.fork.repeat} repeats a fork: give fork.run and fork.step, or leave it out"
        )
    if config.optim.min_lr > config.optim.lr:
        raise UserError(f"optim.min_lr={config.optim.min_lr} is above optim.lr={config.optim.lr}: lower it")
    check_stages(config.context, config.model.original_context)
    longest, budget = config.context.longest, config.parallel.max_tokens_per_micro_batch
    if longest > budget:
        raise UserError(
            f"a row of {longest} tokens (context.stages) does not fit parallel.max_tokens_per_micro_batch={budget}: "
            f"raise it to at least {longest}"
        )
    check_recompute(config.parallel)
    if config.rollout.samples_per_prompt < 2:
        raise UserError("rollout.samples_per_prompt=1 gives a group no spread of rewards: use 2 or more")
    if max(config.eval.pass_at, default=1) > config.eval.samples_per_problem:
        possible = ",".join(str(k) for k in config.eval.pass_at if k <= config.eval.samples_per_problem) or "1"
        raise UserError(
            f"pass@{max(config.eval.pass_at)} needs at least as many samples, but "
            f"eval.samples_per_problem={config.eval.samples_per_problem}: raise it, or add 'eval.pass_at=[{possible}]'"
        )
    if min(config.eval.pass_at, default=1) < 1:
        raise UserError(f"eval.pass_at={config.eval.pass_at} contains a k below 1: give each k as 1 or more")
    check_eval_contexts(config.eval)
    check_design(config)
    check_source(config)
    check_history(config)
    if "\n" in config.cell or not config.cell.strip("./ ") or "/" in config.cell:
        raise UserError(f"cell={config.cell!r} names a directory: use letters, digits, '_', '-', '=' and '.'")


def check_design(config: RunConfig) -> None:
    """The sequential design of the comparison, where one is declared."""
    design = config.comparison.design
    if design is None:
        return
    if design.looks != sorted(set(design.looks)) or not design.looks or design.looks[0] < 3:
        raise UserError(
            f"comparison.design.looks={list(design.looks)} must grow from 3 seeds or more: use [4, 8, 12, 16]"
        )
    for name, low, high in (("alpha", 0.0, 0.5), ("effect", 0.0, 1.0)):
        if not low < getattr(design, name) < high:
            raise UserError(f"comparison.design.{name}={getattr(design, name)} must lie between {low:g} and {high:g}")
    if not 0 <= design.futility < 1:
        raise UserError(f"comparison.design.futility={design.futility} must be 0 or more and below 1: 0 never stops")
    if design.context not in [context.length for context in config.eval.contexts]:
        raise UserError(f"comparison.design.context={design.context} is not evaluated: add it to eval.contexts")
    if design.cell == config.comparison.baseline:
        raise UserError(f"comparison.design.cell={design.cell} is the baseline: name the cell to compare with it")


def check_shared(config: RunConfig) -> None:
    """Raise ``UserError`` where servers cannot take turns with the trainer (``rollout.engine.share_gpus``)."""
    engine, lag = config.rollout.engine, config.rollout.lag
    if not engine.share_gpus:
        return
    if lag:
        raise UserError(
            f"rollout.lag={lag} samples while the trainer works, and rollout.engine.share_gpus=true lets servers sleep "
            "meanwhile: set rollout.lag=0, or rollout.engine.share_gpus=false"
        )
    if engine.placement in ("inline", "child"):
        raise UserError(
            f"rollout.engine.share_gpus=true puts servers to sleep, and rollout.engine.placement={engine.placement} "
            "has none: set rollout.engine.placement=servers"
        )
    if config.rollout.groups_from != "own":
        raise UserError(
            "rollout.engine.share_gpus=true puts this run's servers to sleep, and with rollout.groups_from=atropos "
            "others sample: set rollout.engine.share_gpus=false"
        )


def check_recompute(parallel: ParallelConfig) -> None:
    """Raise ``UserError`` for a number of recomputed layers that nothing uses, or that is no number of layers."""
    layers = parallel.recompute_layers
    if layers is None:
        return
    if parallel.recompute != "full":
        raise UserError(
            f"parallel.recompute_layers={layers} counts the layers of parallel.recompute=full, not of "
            f"{parallel.recompute}: set parallel.recompute=full, or parallel.recompute_layers=null"
        )
    if layers < 1:
        raise UserError(f"parallel.recompute_layers={layers} must be 1 or more: parallel.recompute=none is 0 layers")


def check_values(config: RunConfig) -> None:
    """Raise ``UserError`` for the first value that breaks its rule; verify/choices.py checks ``verify.*``."""
    for key, allowed in CHOICES.items():
        if value_at(config, key) not in allowed:
            raise UserError(f"{key}={value_at(config, key)} is not one of {', '.join(map(str, allowed))}")
    ranges = (
        (POSITIVE, "above 0", lambda value: 0 < value < math.inf),
        (NOT_NEGATIVE, "0 or above", lambda value: 0 <= value < math.inf),
        (AT_MOST_1, "above 0 and at most 1", lambda value: 0 < value <= 1),
        (BELOW_1, "below 1", lambda value: value < 1),
    )
    for keys, rule, holds in ranges:
        for key in keys:
            if not holds(value_at(config, key)):
                raise UserError(f"{key} must be {rule}, not {value_at(config, key)}")


def check_eval_contexts(config: EvalConfig) -> None:
    lengths = [context.length for context in config.contexts]
    for context in config.contexts:
        if context.length < 1 or context.every < 0:
            raise UserError(
                "eval.contexts needs length above 0, and every 0 or above, not "
                f"{{length: {context.length}, every: {context.every}}}"
            )
    if len(set(lengths)) < len(lengths):
        raise UserError(f"eval.contexts of {lengths} tokens names a context twice: give each length one schedule")


def check_scored(config: RunConfig) -> None:
    """Raise ``UserError`` unless training evaluates Pass@1 at ``eval.select_at``, which chooses the best checkpoint."""
    if 1 not in config.eval.pass_at:
        raise UserError(f"Pass@1 selects the best checkpoint: add 1 to eval.pass_at={config.eval.pass_at}")
    lengths = [context.length for context in config.eval.contexts]
    if config.eval.select_at not in lengths:
        raise UserError(
            f"eval.select_at={config.eval.select_at} is not a length of eval.contexts ({lengths}): add that context, "
            "or select at one of them"
        )


def check_source(config: RunConfig) -> None:
    """Raise ``UserError`` for what a run cannot do with groups that others sample."""
    if config.rollout.groups_from == "own":
        return
    overlong = config.objective.get("overlong")
    if overlong != "zero_advantage":
        raise UserError(
            "rollout.groups_from=atropos sets the advantage of a truncated response to zero, which objective.overlong="
            f"{overlong} contradicts: set objective.overlong=zero_advantage"
        )
    if config.rollout.lag:
        raise UserError(
            f"rollout.lag={config.rollout.lag} orders batches that this run samples, but with rollout.groups_from="
            "atropos others sample: set rollout.lag=0, and rollout.atropos.max_batches_ahead for the environment"
        )


def check_history(config: RunConfig) -> None:
    for name, value in vars(config.data.history).items() if config.data.history else ():
        if value < 1:
            raise UserError(f"data.history.{name} must be 1 or more, not {value}: null turns it off")
    if config.data.history and config.rollout.groups_from == "atropos":
        raise UserError(
            "with rollout.groups_from=atropos others draw the problems, and none rests: set data.history=null"
        )


def check_split(config: RunConfig) -> None:
    rollout, num_updates = config.rollout, config.optim.updates_per_batch
    if rollout.max_draws < rollout.prompts_per_step:
        raise UserError(
            f"rollout.max_draws={rollout.max_draws} is below rollout.prompts_per_step={rollout.prompts_per_step}: "
            "raise it, to several times as much where the objective drops groups"
        )
    if config.rollouts_per_step % num_updates:
        raise UserError(
            f"{rollout.prompts_per_step} prompts x {rollout.samples_per_prompt} samples = {config.rollouts_per_step} "
            f"rollouts are not divisible by {num_updates} updates: change optim.updates_per_batch"
        )


def check_stages(context: ContextConfig, original_context: int) -> None:
    if not context.stages:
        raise UserError("context.stages is empty: give at least one {length, steps}")
    for index, stage in enumerate(context.stages):
        if stage.length <= 0 or stage.steps <= 0:
            raise UserError(
                f"context.stages[{index}] needs length and steps above 0, not {stage.length} and {stage.steps}"
            )
    factors = [yarn_factor(stage.length, original_context) for stage in context.stages]
    if len(set(factors)) > 1:
        lengths = ", ".join(str(stage.length) for stage in context.stages)
        raise UserError(
            f"context.stages of {lengths} tokens need YaRN factors {', '.join(f'{f:g}' for f in factors)}, but a run "
            f"has only one factor: keep every stage within model.original_context={original_context}, or make a run of "
            "each stage that starts from the export of the stage before"
        )
