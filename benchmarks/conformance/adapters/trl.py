"""TRL, from the package index.

Called: GRPOTrainer's and RLOOTrainer's ``_generate_and_score_completions`` (advantages, masks, importance ratios) and
``_compute_loss``. Emulated: generation and the models' forward passes return our log-probabilities; for RLOO the
Trainer's division by the number of accumulated micro-batches.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import torch

from benchmarks.conformance.padded import WIDTH, Padded, Peer, accumulate, same


def open_peer() -> Peer:
    import trl
    from trl.trainer import grpo_trainer, rloo_trainer

    for module in (grpo_trainer, rloo_trainer):
        module.disable_gradient_checkpointing = lambda *values, **options: nullcontext()
    return Peer(f"trl {trl.__version__}", advantage, loss)


def settings(batch: Padded, call: dict[str, Any], split: list[list[int]]) -> dict[str, Any]:
    """The attributes that the two methods read, as the trainer's __init__ would set them."""
    size, mode = len(split[0]), call.get("tis")
    # fmt: off
    args = SimpleNamespace(
        per_device_train_batch_size=size, per_device_eval_batch_size=size, gradient_checkpointing_kwargs=None,
        gradient_accumulation_steps=len(split), steps_per_generation=len(split) * call.get("updates", 1), delta=None,
        use_bias_correction_kl=call.get("bias_correction", True), entropy_target=0.2,
    )
    accelerator = SimpleNamespace(
        device=torch.device("cpu"), num_processes=1, process_index=0, gather=same, reduce=same, gather_for_metrics=same,
        unwrap_model=same, sync_gradients=True,
    )
    metrics = {"train": defaultdict(list)}
    logs = {"prompt": [], "completion": [], "rewards": defaultdict(list), "advantages": [], "extra": defaultdict(list)}
    absent = ("environment_factories", "environments", "tools", "pad_to_multiple_of", "reward_clip_range",
              "vllm_importance_sampling_clip_min", "_buffered_inputs", "off_policy_mask_threshold")
    unused = ("normalize_advantages", "log_multimodal", "_is_vlm", "_multi_environment", "aux_loss_enabled",
              "_entropy_bonus_enabled")
    own = SimpleNamespace(
        accelerator=accelerator, args=args, model=SimpleNamespace(training=True), ref_model=SimpleNamespace(),
        _tokenizer=SimpleNamespace(pad_token_id=0), processing_class=SimpleNamespace(pad_token_id=0), pad_token_id=0,
        eos_token_ids=[1], _eos_token_ids=[1], eos_token_id=1, num_generations=batch.size, num_iterations=1,
        num_steps=1, num_generations_eval=batch.size, use_vllm=bool(mode), _step=0,
        vllm_importance_sampling_correction=bool(mode),
        mask_truncated_completions=call.get("mask_truncated", False), vllm_importance_sampling_mode=mode,
        vllm_importance_sampling_clip_max=call.get("cap"), beta=call.get("beta", 0.0), _metrics=metrics,
        multi_objective_aggregation="sum_then_normalize", scale_rewards=call.get("scale_rewards", "group"),
        reward_weights=torch.ones(1, dtype=torch.float64), reward_funcs=[None], reward_func_names=["reward"],
        _pending_extra_logs={}, _pending_metrics={}, _logs={**logs, "images": []}, loss_type=call.get("loss_type"),
        importance_sampling_level=call.get("level", "token"), epsilon_low=call.get("low", 0.2),
        epsilon_high=call.get("high", 0.28), current_gradient_accumulation_steps=len(split), top_entropy_quantile=1.0,
        max_completion_length=WIDTH,
    )
    # fmt: on
    return {**vars(own), **dict.fromkeys(absent), **dict.fromkeys(unused, False)}


def scored(batch: Padded, call: dict[str, Any], split: list[list[int]]) -> tuple[Any, dict[str, Any]]:
    """A trainer without its __init__, and what it makes of our rollouts."""
    import trl

    rloo, count = call.get("trainer") == "rloo", len(batch.lengths)
    cls = trl.RLOOTrainer if rloo else trl.GRPOTrainer
    made = cls.__new__(cls)
    made.__dict__.update(settings(batch, call, split))
    rows = zip(batch.lengths.tolist(), batch.truncated.tolist(), strict=True)
    answers, reward = [[2] * (length - 1) + [2 if is_cut else 1] for length, is_cut in rows], batch.reward
    if "soft" in call:
        from trl.rewards import get_soft_overlong_punishment

        reward = reward + torch.tensor(get_soft_overlong_punishment(*call["soft"])(completion_ids=answers)).double()
    sampled = [batch.rollout_logp[place, :length].tolist() for place, length in enumerate(batch.lengths.tolist())]
    prompts, texts = [[5]] * count, [""] * count
    generated = (prompts, answers, texts) if rloo else (prompts, answers, None, texts, sampled, {}, None, None)
    made._generate = lambda prompts: generated
    made._calculate_rewards = lambda *values, **options: reward[:, None].clone()
    made._get_per_token_logps_and_entropies = lambda model, ids, attention, keep, *values, **options: (
        (batch.ref_logp if model is made.ref_model else batch.old_logp)[:, :keep], torch.zeros(count, keep), None
    )  # fmt: skip
    return made, made._generate_and_score_completions([{"prompt": "p"} for _ in range(count)])


def advantage(batch: Padded, call: dict[str, Any]) -> list[float]:
    return scored(batch, call, [list(range(len(batch.lengths)))])[1]["advantages"].tolist()


def loss(batch: Padded, split: list[list[int]], call: dict[str, Any]) -> list[list[float]] | None:
    if len({len(rows) for rows in split}) > 1:
        return None  # per_device_train_batch_size is one number
    made, scoring = scored(batch, call, split)
    rloo, width, count = call.get("trainer") == "rloo", scoring["completion_ids"].shape[1], len(batch.lengths)

    def loss_of(rows: torch.Tensor, logp: torch.Tensor) -> torch.Tensor:
        inputs = {name: value[rows] if torch.is_tensor(value) and value.ndim and len(value) == count else value
                  for name, value in scoring.items()}  # fmt: skip
        inputs |= {"advantages": batch.advantage[rows], "old_per_token_logps": batch.old_logp[rows][:, :width]}
        inputs["old_logps"] = (batch.old_logp * batch.mask).sum(1)[rows]  # RLOO's
        found = logp[:, :width], torch.zeros(len(rows), width), None
        made._get_per_token_logps_and_entropies = lambda *values, **options: found
        value = made._compute_loss(made.model, inputs)
        return value / len(split) if rloo else value  # GRPO divides itself

    return accumulate(batch, split, loss_of)
