"""The schema of a run's configuration: types and cross-field checks. No default values: YAML owns values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ablate.errors import UserError


@dataclass
class StageConfig:
    length: int = MISSING  # tokens of prompt and response together
    steps: int = MISSING


@dataclass
class ContextConfig:
    """Training contexts, in order. A run without a schedule has one stage."""

    length: int = MISSING
    steps: int = MISSING
    stages: list[StageConfig] = MISSING


@dataclass
class ModelConfig:
    name: str = MISSING
    hub_name: str | None = MISSING  # where the weights come from, for the model card; null: made here
    license: str = MISSING  # SPDX identifier, of the weights and of what is trained from them
    path: str | None = MISSING  # a Hugging Face directory; null: built from `build` and cached by its hash
    build: dict[str, Any] | None = MISSING
    original_context: int = MISSING  # positions the weights were trained for: YaRN's original length
    num_parameters: int | None = MISSING
    architecture: dict[str, Any] | None = MISSING  # the shape that config.json at `path` must have; null: not pinned


@dataclass
class ParallelConfig:
    tensor: int = MISSING
    pipeline: int = MISSING
    context: int = MISSING
    sequence_parallel: bool = MISSING
    distributed_optimizer: bool = MISSING
    world_size: int | None = MISSING  # what the layout was made for; null: any multiple of tensor x pipeline
    precision: str = MISSING  # fp32 | bf16 (with fp32 main weights)
    transformer_engine: bool = MISSING
    recompute: str = MISSING  # none | core_attn | full
    num_threads: int = MISSING  # intra-op threads of the trainer on a CPU
    timeout_s: float = MISSING  # a collective that waits longer ends the job
    silence_s: float = MISSING  # a process of the job that is not heard of for so long counts as dead
    packing: bool = MISSING  # rows of a micro-batch end to end, without padding
    max_tokens_per_micro_batch: int = MISSING  # padding included
    logp_chunk_tokens: int = MISSING  # tokens per chunk of the vocabulary projection


@dataclass
class DataConfig:
    name: str = MISSING
    train: str = MISSING  # JSONL of problems; "shipped:NAME" for a file of the package
    eval: str = MISSING
    template: str = MISSING  # user message, with {statement}
    max_prompt_tokens: int | None = MISSING
    shuffle: bool = MISSING


@dataclass
class EngineConfig:
    mode: str = MISSING  # inline (in this process) | child (of its own) | auto (child under torchrun) | server (HTTP)
    urls: list[str] = MISSING  # server mode
    weights_dir: str | None = MISSING  # server mode: a directory that trainer and servers share, for new weights
    dtype: str = MISSING
    max_num_seqs: int = MISSING
    tensor_parallel: int = MISSING
    gpu_memory_utilization: float = MISSING
    kv_cache_gib: float = MISSING  # CPU only
    num_threads: int = MISSING  # CPU only: intra-op threads while sampling
    enforce_eager: bool = MISSING
    prefix_caching: bool = MISSING


@dataclass
class RolloutConfig:
    prompts_per_step: int = MISSING
    samples_per_prompt: int = MISSING
    temperature: float = MISSING
    top_p: float = MISSING
    max_refill_rounds: int = MISSING  # dynamic sampling: rounds after the first
    on_short_batch: str = MISSING  # error | train
    infrastructure_retries: int = MISSING  # per rollout, before its group is dropped
    engine: EngineConfig = MISSING


@dataclass
class VerifyConfig:
    backend: str = MISSING  # local | modal
    container: str = MISSING  # rollout | problem | test
    workers: int = MISSING
    queue_size: int = MISSING
    time_limit_s: float = MISSING  # CPU seconds per test
    wall_factor: float = MISSING  # wall cap = factor x time limit + 1 s
    memory_limit_mib: int = MISSING
    output_limit_kib: int = MISSING
    max_processes: int = MISSING
    max_tests: int | None = MISSING  # the hardest ones only; null: all
    comparison: str = MISSING  # tokens | lcb | exact
    extraction: str = MISSING  # last_block | lcb
    cache: bool = MISSING  # verdicts on disk, for re-evaluation; never infrastructure errors
    cache_dir: str = MISSING
    retries: int = MISSING  # of a starved or infrastructure-failed run, inside the judge


@dataclass
class OptimConfig:
    lr: float = MISSING
    min_lr: float = MISSING
    schedule: str = MISSING  # constant | cosine
    warmup_steps: int = MISSING  # optimizer steps
    weight_decay: float = MISSING
    beta1: float = MISSING
    beta2: float = MISSING
    eps: float = MISSING
    clip_grad: float = MISSING
    steps_per_batch: int = MISSING  # optimizer steps per rollout batch
    old_logp: str = MISSING  # trainer (recomputed) | rollout (the engine's own)


@dataclass
class EvalConfig:
    every: int = MISSING  # steps; 0: only where at_start and at_end say
    at_start: bool = MISSING
    at_end: bool = MISSING
    samples_per_problem: int = MISSING
    temperature: float = MISSING
    top_p: float = MISSING
    context_factors: list[float] = MISSING  # of the training context; above 1 by YaRN
    pass_at: list[int] = MISSING
    bootstrap_resamples: int = MISSING
    seed: int = MISSING  # the same for every arm


@dataclass
class CheckpointConfig:
    every: int = MISSING  # steps; 0: only at the end of a stage
    keep: int = MISSING  # newest ones kept
    keep_best: bool = MISSING
    asynchronous: bool = MISSING


@dataclass
class LoggingConfig:
    wandb: str = MISSING  # disabled | offline | online
    wandb_project: str = MISSING
    display: str = MISSING  # auto | live | plain
    save_rollouts: bool = MISSING


@dataclass
class PathsConfig:
    outputs: str = MISSING
    cache: str = MISSING


@dataclass
class ComparisonConfig:
    """What the report compares. It changes nothing that a run computes."""

    factors: list[str] = MISSING  # keys, or their prefixes, in which the cells differ on purpose
    baseline: str = MISSING  # the cell that the others are held against


@dataclass
class RunConfig:
    """One cell and seed of an experiment. ``objective`` is checked by the objectives' own registry."""

    experiment: str = MISSING
    cell: str = MISSING
    seed: int = MISSING
    objective: dict[str, Any] = MISSING
    context: ContextConfig = MISSING
    model: ModelConfig = MISSING
    parallel: ParallelConfig = MISSING
    data: DataConfig = MISSING
    rollout: RolloutConfig = MISSING
    verify: VerifyConfig = MISSING
    optim: OptimConfig = MISSING
    eval: EvalConfig = MISSING
    checkpoint: CheckpointConfig = MISSING
    logging: LoggingConfig = MISSING
    paths: PathsConfig = MISSING
    comparison: ComparisonConfig = MISSING

    @property
    def rollouts_per_step(self) -> int:
        return self.rollout.prompts_per_step * self.rollout.samples_per_prompt


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


def section(schema: type, values: Any, name: str) -> Any:
    """Check one group of the configuration against its schema and return it as a dataclass instance.

    Raises:
        UserError: for an unknown key, a missing value or a value of the wrong type, naming the key.
    """
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), values)
        return OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        key = f"{name}.{error.full_key}".strip(".") if error.full_key else name
        reason = str(error.msg or error).strip().splitlines()[0]
        raise UserError(f"{key}: {reason}: mend the value in conf/ or on the command line") from error


def parse(values: Any) -> RunConfig:
    """Turn a composed Hydra configuration into a checked ``RunConfig``.

    Raises:
        UserError: naming the first key that breaks a rule, with the rule, the value and the fix.
    """
    config = section(RunConfig, {k: v for k, v in values.items() if k != "hydra"}, "")
    check(config)
    return config


def value_at(config: RunConfig, key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def check(config: RunConfig) -> None:
    """Check what no single type can say: choices, signs, and fields that must fit together."""
    for key, allowed in CHOICES.items():
        if value_at(config, key) not in allowed:
            raise UserError(f"{key}={value_at(config, key)} is not one of {', '.join(allowed)}")
    for key in POSITIVE:
        if not value_at(config, key) > 0:
            raise UserError(f"{key} must be above 0, not {value_at(config, key)}")
    check_split(config)
    check_stages(config.context)
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


def check_stages(context: ContextConfig) -> None:
    if not context.stages:
        raise UserError("context.stages is empty: give at least one {length, steps}")
    for index, stage in enumerate(context.stages):
        if stage.length <= 0 or stage.steps <= 0:
            raise UserError(
                f"context.stages[{index}] needs length and steps above 0, not {stage.length}, {stage.steps}"
            )
