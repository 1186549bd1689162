"""A small random model through the run's own engine, weight hand-off and trainer, in the run's precision.

The model has two layers of the run's family; one process holds engine and trainer, whatever the run's layout is.
"""

from __future__ import annotations

import math
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
import transformers
from torch import Tensor
from transformers import AutoModelForCausalLM

from ablate import objectives
from ablate.config import EngineConfig, RunConfig
from ablate.doctor.finding import OK, WARNING, Finding
from ablate.doctor.numerics import numerics
from ablate.doctor.small_model import CONTEXT, engine_config, open_trainer, sampled_groups, write_model
from ablate.objectives import Objective
from ablate.rollout.open import close_engines, open_engine
from ablate.trainer.batching import make_batch
from ablate.trainer.trainer import Trainer
from ablate.types import TrainBatch

# Mean difference of a token's log-probability, nats. fp32: parity tests find 4e-6; bf16: 6.5e-3 on a CPU, twice that.
MEAN_GAP_NATS = {"fp32": 1e-4, "bf16": 0.013}
HEAD_NOISE = 1.1  # the two engines sample different tokens, so their gaps differ by chance


def compute(config: RunConfig) -> list[Finding]:
    """Engine start, weight hand-off, trainer against transformers, noise of another packing, head, digest."""
    transformers.utils.logging.disable_progress_bar()
    objective = objectives.build(config.objective)
    precision = config.parallel.precision
    with tempfile.TemporaryDirectory(prefix="ablate-doctor-") as scratch:
        first, second = (write_model(Path(scratch) / str(seed), seed) for seed in (1, 2))
        start = time.perf_counter()
        engine = open_engine(first, engine_config(config.rollout.engine), CONTEXT, CONTEXT)
        started_s = time.perf_counter() - start
        start = time.perf_counter()
        groups = sampled_groups(engine, config)
        num_tokens = sum(len(each.response_ids) for group in groups for each in group.completions)
        speed = num_tokens / (time.perf_counter() - start)
        findings = [Finding("engine", OK, f"started in {started_s:.1f} s; {speed:.0f} tokens/s from two small layers")]

        trainer = open_trainer(config, second)
        start = time.perf_counter()
        trainer.gather_weights(engine.load_weights)
        seconds = time.perf_counter() - start
        batch = make_batch(sampled_groups(engine, config), objective)
        logp_BT, _ = trainer.logp(batch)
        gap = gap_of_engine = mean_gap(logp_BT, batch.rollout_logp_BT, batch)
        says = f"{seconds:.2f} s; trainer and engine then differ by {gap:.1e} nats a token ({precision})"
        findings.append(judged("weight hand-off", gap, precision, says))
        gap = mean_gap(logp_BT, logp_of_transformers(second, batch, config.rollout.temperature), batch)
        findings.append(
            judged("trainer", gap, precision, f"{gap:.1e} nats a token from transformers in fp32 ({precision})")
        )
        findings.append(packings(trainer, batch, logp_BT, objective))
        findings.append(head(config, second, gap_of_engine, trainer))
        if config.rollout.engine.kv_cache_dtype != "auto":
            findings.append(cache(config, second, gap_of_engine, trainer))
        close_engines()
        findings.append(numerics(first))
        close_engines()
    return findings


def head(config: RunConfig, model_dir: Path, gap: float, trainer: Trainer) -> Finding:
    """What full-precision logits in the engine are worth: the mismatch with them and without, in the run's precision.

    Args:
        gap: mean difference of trainer and engine as the run is configured, nats a token.
    """
    engine = config.rollout.engine
    if engine.dtype == "float32":
        return Finding("head", OK, "the engine's logits are float32, as the trainer's always are")
    other = {"float32": "model", "model": "float32"}[engine.head_dtype]
    changed = engine_config(replace(engine, head_dtype=other))
    gaps = {engine.head_dtype: gap, other: gap_with(changed, config, model_dir, trainer)}
    says = ", ".join(f"{name}: {gaps[name]:.1e}" for name in ("float32", "model"))
    says = (
        f"nats a token between trainer ({config.parallel.precision}) and engine, by rollout.engine.head_dtype: {says}"
    )
    if gap <= HEAD_NOISE * gaps[other]:
        return Finding("head", OK, says)
    return Finding("head", WARNING, says, f"set rollout.engine.head_dtype={other}")


def cache(config: RunConfig, model_dir: Path, gap: float, trainer: Trainer) -> Finding:
    """What the engine's rounded keys and values cost: the mismatch with them and, as ``gap`` says, without."""
    dtype = config.rollout.engine.kv_cache_dtype
    rounded = replace(engine_config(config.rollout.engine), kv_cache_dtype=dtype)
    other = gap_with(rounded, config, model_dir, trainer)
    says = f"nats a token between trainer and engine, by kv_cache_dtype: auto: {gap:.1e}, {dtype}: {other:.1e}"
    return Finding("cache", OK, says)


def gap_with(engine: EngineConfig, config: RunConfig, model_dir: Path, trainer: Trainer) -> float:
    """The mean difference of the trainer and this engine in place of the one that is open, nats a token."""
    close_engines()
    batch = make_batch(
        sampled_groups(open_engine(model_dir, engine, CONTEXT, CONTEXT), config), objectives.build(config.objective)
    )
    return mean_gap(trainer.logp(batch)[0], batch.rollout_logp_BT, batch)


def judged(check: str, gap: float, precision: str, says: str) -> Finding:
    limit = MEAN_GAP_NATS[precision]
    if gap <= limit:
        return Finding(check, OK, says)
    fix = f"expected at most {limit:g}: try parallel.attention=unfused, then parallel.precision=fp32, to find the cause"
    return Finding(check, WARNING, says, fix)


def packings(trainer: Trainer, batch: TrainBatch, logp_BT: Tensor, objective: Objective) -> Finding:
    """How far a row's mean log-probability moves when other rows share its micro-batch: noise that a clip must exceed.

    A sequence ratio is exp(mean_t log r_t) (GSPO, arXiv 2507.18071, equation 7).
    """
    whole = trainer.parallel
    trainer.parallel = replace(whole, max_tokens_per_micro_batch=CONTEXT)
    alone_BT, _ = trainer.logp(batch)
    trainer.parallel = whole
    mean_B = ((alone_BT - logp_BT) * batch.mask_BT).sum(1) / batch.mask_BT.sum(1)
    noise = mean_B.abs().max().item()
    says = f"two packings of the same rows move a sequence's mean log-probability by at most {noise:.1e} nats"
    low, high = objective.clip_bounds
    room = min(-math.log(low) if low > 0 else math.inf, math.log(high) if high > 1 else math.inf)
    if noise < room / 3:
        return Finding("packing noise", OK, says)
    fix = f"{objective.name} clips at {room:.1e}: use optim.updates_per_batch=1 or a precision of more bits"
    return Finding("packing noise", WARNING, says, fix)


def mean_gap(found_BT: Tensor, expected_BT: Tensor, batch: TrainBatch) -> float:
    return (found_BT - expected_BT).abs()[batch.mask_BT].mean().item()


def logp_of_transformers(model_dir: Path, batch: TrainBatch, temperature: float) -> Tensor:
    """Log-probabilities [B, T] in nats from transformers' own fp32 model on the CPU."""
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    with torch.no_grad():
        logp_BTV = (model(batch.tokens_BS).logits[:, :-1] / temperature).log_softmax(dim=-1)
    return logp_BTV.gather(2, batch.tokens_BS[:, 1:, None])[..., 0]
