"""Layouts, objectives and rollouts on which trainers are compared."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ablate import objectives
from ablate.config import ModelConfig, OptimConfig, ParallelConfig
from ablate.objectives import Objective
from ablate.objectives.batch import update_batch
from ablate.trainer.batching import make_batch
from ablate.trainer.trainer import Trainer
from ablate.types import Completion, Problem, RolloutGroup, TrainBatch, Verdict, VerdictKind

TEMPERATURE = 0.8
VOCAB_SIZE, CONTEXT = 104, 96  # token 0 pads: transformers leaves its (zero) embedding out of the gradient
GRPO = {
    "keep": "all",
    "shape": "verdict",
    "advantage": "group_normalised",
    "ratio": "token",
    "surrogate": "clipped",
    "weight": "sequence_mean",
    "eps": 1e-6,
}
SFT = {
    **GRPO,
    "name": "sft",
    "overlong": "train",
    "advantage": "one",
    "ratio": "unit",
    "surrogate": "log_likelihood",
    "weight": "token_mean",
}
OBJECTIVES = {
    "grpo": {"clip_low": 0.2, "clip_high": 0.2},
    "dapo": {"weight": "token_mean", "clip_low": 0.2, "clip_high": 0.28},
    "gspo": {"ratio": "sequence", "clip_low": 3e-4, "clip_high": 4e-4},
    "gspo_plus": {"ratio": "sequence", "weight": "token_mean", "clip_low": 3e-4, "clip_high": 4e-4},
}
SINGLE = ParallelConfig(
    tensor=1,
    pipeline=1,
    context=1,
    sequence_parallel=False,
    distributed_optimizer=False,
    world_size=None,
    precision="fp32",
    transformer_engine=False,
    attention="auto",
    fp8="none",
    fp8_recipe="tensorwise",
    recompute="none",
    recompute_layers=None,
    num_threads=1,
    collective_timeout_s=60,
    leader_timeout_s=60,
    silence_s=15,
    packing=False,
    max_tokens_per_micro_batch=256,
    logp_chunk_tokens=64,
    megatron={},
)
WORDS: dict[str, dict[str, Any]] = {  # a layout's name says in these words how it differs from SINGLE
    "single": {},
    "dp": {},
    "tp2": {"tensor": 2},
    "tp8": {"tensor": 8},
    "sp": {"sequence_parallel": True},
    "pp2": {"pipeline": 2},
    "cp2": {"context": 2},
    "cp4": {"context": 4},
    "distributed": {"distributed_optimizer": True},
    "packed": {"packing": True},
    "full": {"recompute": "full"},
    "onelayer": {"recompute": "full", "recompute_layers": 1},
    "selective": {"recompute": "core_attn"},
    "bf16": {"precision": "bf16"},
    "fp8": {"fp8": "hybrid"},
    "te": {"transformer_engine": True, "attention": "fused"},  # on a CPU its double, te_standin.py
}


def layout_named(name: str) -> ParallelConfig:
    """The layout that ``tp2_sp_packed`` and the like name."""
    changes: dict[str, Any] = {}
    for word in name.split("_"):
        changes |= WORDS[word]
    return replace(SINGLE, **changes)


# A large eps keeps Adam's first update a smooth function of the gradient, so that weights can be compared.
OPTIM = OptimConfig(
    lr=1e-2,
    min_lr=1e-3,
    schedule="cosine",
    warmup_steps=2,
    weight_decay=0.1,
    beta1=0.9,
    beta2=0.99,
    eps=1e-2,
    clip_grad=0.5,
    updates_per_batch=1,
    old_logp="trainer",
)


def model_config(original_context: int = CONTEXT) -> ModelConfig:
    return ModelConfig(name="t", path=None, build=None, original_context=original_context, num_parameters=None)


def open_trainer(
    model_dir: Path,
    parallel: ParallelConfig,
    *,
    original_context: int = CONTEXT,
    context_length: int = CONTEXT,
    optim: OptimConfig = OPTIM,
) -> Trainer:
    return Trainer(
        model_dir,
        model_config(original_context),
        parallel,
        optim,
        context_length=context_length,
        total_updates=10,
        temperature=TEMPERATURE,
    )


def objective_named(name: str, overlong: str = "mask") -> Objective:
    return objectives.build(GRPO | {"name": name, "overlong": overlong} | OBJECTIVES[name])


def selecting(part: str) -> Objective:
    """GRPO with one part in the slot select, and numbers with which it takes some tokens out and leaves some."""
    knobs = {"max_divergence": 0.0, "entropy_share": 0.3, "max_second_moment": 0.1}
    knobs |= {"cov_share": 0.1, "cov_low": 0.0, "cov_high": 9.0}
    slots = {"name": part, "overlong": "mask", "select": part, "clip_low": 0.2, "clip_high": 0.2}
    return objectives.build(GRPO | slots | knobs)


def selected(objective: Objective, old_logp_BT: torch.Tensor, entropy_BT: torch.Tensor) -> TrainBatch:
    """All rollouts as one update, with what the old policy gave them."""
    batch = replace(make_batch(rollout_groups(), objective), old_logp_BT=old_logp_BT, entropy_BT=entropy_BT)
    return update_batch(batch, torch.arange(batch.num_rows), objective, seed=3)


def rollout_groups(num_groups: int = 3, size: int = 4, seed: int = 0) -> list[RolloutGroup]:
    """Groups of very different lengths, one of them of a single outcome, the last sample of each truncated."""
    rng = random.Random(seed)
    groups = []
    for group in range(num_groups):
        prompt = tuple(rng.randrange(1, VOCAB_SIZE) for _ in range(rng.randint(3, 20)))
        completions, verdicts = [], []
        for sample in range(size):
            response = tuple(rng.randrange(1, VOCAB_SIZE) for _ in range(rng.choice((1, 2, 9, 30, 70))))
            logp = tuple(-4.0 - rng.random() for _ in response)
            completions.append(Completion("p", sample, 0, prompt, response, logp, "", finished=sample < size - 1))
            passed = group > 0 and sample % 2 == 0
            kind = VerdictKind.accepted if passed else VerdictKind.wrong_answer
            verdicts.append(Verdict(kind, 0, 1, None, 0.0, 0.0, 0.0))
        groups.append(RolloutGroup(Problem("p", "", (), "easy"), tuple(completions), tuple(verdicts)))
    return groups


def off_policy_batch(objective: Objective, logp_BT: torch.Tensor) -> TrainBatch:
    """A batch whose old log-probabilities lie a little off the policy's, on a fixed pattern: some clips bind."""
    batch = make_batch(rollout_groups(), objective)
    generator = torch.Generator().manual_seed(1)
    noise_BT = 0.4 * torch.randn(logp_BT.shape, generator=generator)
    return replace(batch, old_logp_BT=torch.where(batch.mask_BT, logp_BT + noise_BT, 0.0))


def gathered(trainer: Trainer) -> dict[str, torch.Tensor]:
    return trainer.gather_weights(lambda weights: {name: tensor.clone() for name, tensor in weights})


def gathered_gradients(trainer: Trainer) -> dict[str, torch.Tensor]:
    """The (clipped) gradients of the last step, in Hugging Face's layout."""
    weights = [parameter.data for parameter in trainer.model.parameters()]
    for parameter in trainer.model.parameters():
        parameter.data = parameter.main_grad
    try:
        return gathered(trainer)
    finally:
        for parameter, weight in zip(trainer.model.parameters(), weights, strict=True):
            parameter.data = weight
