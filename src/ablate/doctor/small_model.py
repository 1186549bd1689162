"""The small random model of the doctor's checks, its engine and trainer, and rollouts of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from ablate.config import EngineConfig, ParallelConfig, RunConfig
from ablate.data.tokenizer import character_tokenizer
from ablate.rollout.engine import Engine, Request, Sampled
from ablate.trainer.trainer import Trainer
from ablate.types import Completion, Problem, RolloutGroup, TestCase, Verdict, VerdictKind

CONTEXT = 256
PROMPT_TOKENS, NUM_GROUPS, SAMPLES = 24, 4, 4
ENGINE_MEMORY_SHARE = 0.3  # of a GPU: a trainer shares the device here


def engine_config(config: EngineConfig) -> EngineConfig:
    return replace(
        config,
        placement="inline",
        share_gpus=False,
        kv_cache_dtype="auto",  # what a rounded cache costs is no fault: ``compute.cache`` says it
        urls=[],
        tensor_parallel=1,
        kv_cache_gib=min(config.kv_cache_gib, 0.125),
        gpu_memory_utilization=min(config.gpu_memory_utilization, ENGINE_MEMORY_SHARE),
        max_num_seqs=NUM_GROUPS * SAMPLES,
    )


def open_trainer(config: RunConfig, model_dir: Path) -> Trainer:
    return Trainer(
        model_dir,
        replace(config.model, original_context=CONTEXT),
        own_layers(config.parallel),
        config.optim,
        context_length=CONTEXT,
        total_updates=1,
        temperature=config.rollout.temperature,
    )


def own_layers(parallel: ParallelConfig) -> ParallelConfig:
    """The run's layers and kernels in one process, with room for all rows in one micro-batch."""
    return replace(
        parallel.alone(),
        transformer_engine=parallel.transformer_engine,
        attention=parallel.attention,
        fp8=parallel.fp8,
        max_tokens_per_micro_batch=NUM_GROUPS * SAMPLES * CONTEXT,
    )


def write_model(directory: Path, seed: int) -> Path:
    """A random Qwen3 of two layers with the tiny model's tokenizer; heads and sizes suit every attention kernel."""
    tokenizer = character_tokenizer()
    torch.manual_seed(seed)
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=64,
            max_position_embeddings=CONTEXT,
            initializer_range=0.1,
            tie_word_embeddings=True,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            dtype="float32",
        )
    )
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def sampled_groups(engine: Engine, config: RunConfig) -> list[RolloutGroup]:
    """Groups of sampled completions; every second one counts as right, so that every group teaches something."""
    sampled: dict[tuple[int, int], Sampled] = {}
    prompts = [tuple(3 + (7 * index + position) % 90 for position in range(PROMPT_TOKENS)) for index in range(4)]
    requests = [
        Request(
            (group, sample),
            prompts[group],
            seed=SAMPLES * group + sample,
            max_new_tokens=CONTEXT - PROMPT_TOKENS,
            temperature=config.rollout.temperature,
            top_p=1.0,
        )
        for group in range(NUM_GROUPS)
        for sample in range(SAMPLES)
    ]
    engine.sample(requests, sampled.__setitem__)
    problem = Problem("doctor", "", (TestCase("", ""),), "easy")
    return [
        RolloutGroup(
            problem,
            tuple(
                Completion("doctor", sample, 0, prompts[group], each.response_ids, each.logp, "", each.finished)
                for sample in range(SAMPLES)
                for each in [sampled[group, sample]]
            ),
            tuple(verdict(passed=sample % 2 == 0) for sample in range(SAMPLES)),
        )
        for group in range(NUM_GROUPS)
    ]


def verdict(passed: bool) -> Verdict:
    kind = VerdictKind.accepted if passed else VerdictKind.wrong_answer
    return Verdict(kind, int(passed), 1, None if passed else 0, 0.0, 0.0, 0.0)
