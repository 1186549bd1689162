"""What no single type of the schema can say: choices, signs, and fields that must fit together."""

from __future__ import annotations

from typing import Any

from ablate.config.schema import ContextConfig, RunConfig
from ablate.errors import UserError

CHOICES = {
    "verify.backend": ("local", "modal"),
    "verify.container": ("rollout", "problem", "test"),
    "verify.comparison": ("tokens", "lcb", "exact"),
    "verify.extraction": ("last_block", "lcb"),
    "rollout.on_short_batch": ("error", "train"),
    "rollout.engine.mode": ("auto", "inline", "child", "server"),
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
    "context.length",
    "context.steps",
    "rollout.prompts_per_step",
    "rollout.samples_per_prompt",
    "rollout.temperature",
    "verify.workers",
    "verify.time_limit_s",
    "verify.memory_limit_mib",
    "optim.lr",
    "optim.steps_per_batch",
    "parallel.tensor",
    "parallel.pipeline",
    "parallel.context",
    "parallel.num_threads",
    "parallel.max_tokens_per_micro_batch",
    "eval.samples_per_problem",
    "eval.temperature",
    "checkpoint.keep",
)


def value_at(config: RunConfig, key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def check(config: RunConfig) -> None:
    """Raise ``UserError`` for the first rule that ``config`` breaks."""
    for key, allowed in CHOICES.items():
        if value_at(config, key) not in allowed:
            raise UserError(f"{key}={value_at(config, key)} is not one of {', '.join(allowed)}")
    for key in POSITIVE:
        if not value_at(config, key) > 0:
            raise UserError(f"{key} must be above 0, not {value_at(config, key)}")
    check_split(config)
    check_stages(config.context, config.model.original_context)
    longest, budget = max(stage.length for stage in config.context.stages), config.parallel.max_tokens_per_micro_batch
    if longest > budget:
        raise UserError(
            f"a row of {longest} tokens (context.stages) does not fit parallel.max_tokens_per_micro_batch={budget}: "
            f"raise it to at least {longest}"
        )
    if config.rollout.samples_per_prompt < 2:
        raise UserError("rollout.samples_per_prompt=1 gives a group no spread to compare: use 2 or more")
    if max(config.eval.pass_at, default=1) > config.eval.samples_per_problem:
        raise UserError(
            f"pass@{max(config.eval.pass_at)} needs at least as many samples, but "
            f"eval.samples_per_problem={config.eval.samples_per_problem}: raise it or change eval.pass_at"
        )
    if "\n" in config.cell or not config.cell.strip("./ "):
        raise UserError(f"cell={config.cell!r} names a directory: use letters, digits, '_', '-', '=' and '.'")


def check_split(config: RunConfig) -> None:
    rollout, num_steps = config.rollout, config.optim.steps_per_batch
    if config.rollouts_per_step % num_steps:
        raise UserError(
            f"{rollout.prompts_per_step} prompts x {rollout.samples_per_prompt} samples = {config.rollouts_per_step} "
            f"rollouts do not divide into {num_steps} optimizer steps: change optim.steps_per_batch"
        )


def check_stages(context: ContextConfig, original_context: int) -> None:
    if not context.stages:
        raise UserError("context.stages is empty: give at least one {length, steps}")
    for index, stage in enumerate(context.stages):
        if stage.length <= 0 or stage.steps <= 0:
            raise UserError(
                f"context.stages[{index}] needs length and steps above 0, not {stage.length}, {stage.steps}"
            )
    factors = [max(1.0, stage.length / original_context) for stage in context.stages]
    if len(set(factors)) > 1:
        lengths = ", ".join(str(stage.length) for stage in context.stages)
        raise UserError(
            f"context.stages of {lengths} tokens need YaRN factors {', '.join(f'{f:g}' for f in factors)}, and one run "
            f"has one: keep every stage within model.original_context={original_context}, or make a run of each stage "
            "that starts from the export of the one before"
        )
