"""slime, from a checkout.

Called: ``loss_function`` of its Megatron backend, with its policy losses, reducers, KL and TIS, and the rollout
manager's ``_post_process_rewards``. Emulated: the forward pass (its log-probabilities are given), one rank, and what
Megatron divides by: the tokens that ``loss_function`` counts, or the number of micro-batches.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from benchmarks.conformance.loading import bare, commit_of, function_of, stand_ins
from benchmarks.conformance.padded import Padded, Peer, accumulate

ONE_RANK = SimpleNamespace(
    get_context_parallel_group=lambda: None,
    get_context_parallel_world_size=lambda: 1,
    get_data_parallel_world_size=lambda with_context_parallel: 1,
)


def open_peer() -> Peer:
    bare("slime", "slime.utils", "slime.backends", "slime.backends.megatron_utils")
    stand_ins("megatron", "slime.utils.distributed_utils", "slime.utils.misc", "slime.utils.types")
    losses = importlib.import_module("slime.backends.megatron_utils.loss")
    reducers = importlib.import_module("slime.backends.megatron_utils.cp_utils")
    losses.mpu = reducers.mpu = ONE_RANK
    manager = Path(losses.__file__).parents[2] / "ray" / "rollout.py"
    post_process = function_of(manager, "_post_process_rewards", {"torch": torch}, inside="RolloutManager")

    def advantage(batch: Padded, call: dict[str, Any]) -> list[float]:
        args = SimpleNamespace(
            advantage_estimator="grpo",
            rewards_normalization=True,
            grpo_std_normalization=call["std"],
            n_samples_per_prompt=batch.size,
            rollout_batch_size=len(batch.reward) // batch.size,
        )
        samples = [SimpleNamespace(get_reward_value=lambda args, value=value: value) for value in batch.reward.tolist()]
        return post_process(SimpleNamespace(args=args, custom_reward_post_process_func=None), samples)[1]

    def loss(batch: Padded, split: list[list[int]], call: dict[str, Any]) -> list[list[float]]:
        args = SimpleNamespace(
            loss_type="policy_loss",
            advantage_estimator=call.get("estimator", "grpo"),
            calculate_per_token_loss=call["token"],
            eps_clip=call.get("low", 0.2),
            eps_clip_high=call.get("high", 0.28),
            eps_clip_c=None,
            **dict.fromkeys(("use_rollout_logprobs", "use_opsm", "get_mismatch_metrics", "use_unbiased_kl",
                             "recompute_loss_function", "allgather_cp", "entropy_coef"), 0),
            **{"use_tis": "tis" in call, "tis_clip": call.get("tis"), "tis_clip_low": 0.0},
            **{"use_kl_loss": "kl" in call, "kl_loss_type": call.get("kl"), "kl_loss_coef": 0.04},
            custom_tis_function_path=None,
        )  # fmt: skip
        mask = batch.kept if call.get("mask_truncated") else batch.mask
        counted: list[torch.Tensor] = []

        def loss_of(rows: torch.Tensor, logp: torch.Tensor) -> torch.Tensor:
            lengths = batch.lengths[rows].tolist()

            def cut(tensor: torch.Tensor) -> list[torch.Tensor]:
                return [row[:length] for row, length in zip(tensor, lengths, strict=True)]

            masks = cut(mask[rows].double())
            data = {"advantages": cut(batch.dense[rows]), "log_probs": cut(batch.old_logp[rows]),
                    "rollout_log_probs": cut(batch.rollout_logp[rows]), "ref_log_probs": cut(batch.ref_logp[rows]),
                    "response_lengths": lengths, "total_lengths": [length + 1 for length in lengths],
                    "loss_masks": masks, "rollout_mask_sums": [each.sum() for each in masks],
                    "unconcat_tokens": None}  # fmt: skip
            given = {"log_probs": cut(logp), "entropy": cut(torch.zeros_like(logp))}
            losses.get_log_probs_and_entropy = lambda *values, **options: (None, given)
            losses.get_rollout_top_p_logprob_kwargs = lambda *values: {}
            value, count, _ = losses.loss_function(args, data, len(split), len(batch.lengths), logp)
            counted.append(count)
            return value

        summed = accumulate(batch, split, loss_of)
        divisor = float(sum(counted)) if call["token"] else len(split)
        return [[each / divisor for each in row] for row in summed]

    return Peer(f"slime {commit_of('slime')}", advantage, loss)
