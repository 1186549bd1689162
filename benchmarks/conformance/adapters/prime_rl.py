"""prime-rl, from a checkout.

Called: ``GRPOAlgorithm.score_group``, ``compute_loss`` and ``default_loss_fn``. Emulated: the engine's
log-probabilities, which are those of the old policy here, and the count of an update's tokens (``rl_scale``).
"""

from __future__ import annotations

import asyncio
import importlib
from types import SimpleNamespace
from typing import Any

import torch

from benchmarks.conformance.loading import bare, commit_of, stand_ins
from benchmarks.conformance.padded import Padded, Peer, accumulate


def open_peer() -> Peer:
    bare("prime_rl", "prime_rl.trainer", "prime_rl.trainer.rl", "prime_rl.orchestrator", "prime_rl.orchestrator.algo")
    stand_ins("prime_rl.configs", "prime_rl.utils", "prime_rl.orchestrator.algo.base",
              "prime_rl.orchestrator.algo.routing", "verifiers", "beartype", "jaxtyping")  # fmt: skip
    losses = importlib.import_module("prime_rl.trainer.rl.loss")
    grpo = importlib.import_module("prime_rl.orchestrator.algo.grpo")
    grpo.iter_trainable_traces = lambda episodes: ((None, trace) for trace in episodes)

    def advantage(batch: Padded, call: dict[str, Any]) -> list[float]:
        given: list[float] = []
        grpo.assign_advantages = lambda trace, value: given.append(value)
        algorithm = SimpleNamespace(length_penalty=None)
        for group in batch.reward.view(-1, batch.size).tolist():
            traces = [SimpleNamespace(reward=reward) for reward in group]
            asyncio.run(grpo.GRPOAlgorithm.score_group(algorithm, traces))
        return given

    def loss(batch: Padded, split: list[list[int]], call: dict[str, Any]) -> list[list[float]]:
        bound, kl_tau = call.get("bound", 0.2), call.get("kl_tau", 1e-3)
        config = SimpleNamespace(dppo_mask_low=bound, dppo_mask_high=bound, adv_tau=1.0, kl_tau=kl_tau)

        def loss_of(rows: torch.Tensor, logp: torch.Tensor) -> torch.Tensor:
            def cut(tensor: torch.Tensor) -> list[torch.Tensor]:
                return [row[:length] for row, length in zip(tensor, batch.lengths[rows].tolist(), strict=True)]

            value, _ = losses.compute_loss(
                cut(logp),
                cut(batch.old_logp[rows]),
                None,
                cut(batch.dense[rows]),
                cut(batch.mask[rows]),
                *(None, None, None),
                rl_loss_fn=lambda inputs: losses.default_loss_fn(inputs, config),
                rl_scale=int(batch.mask.sum()),
                ce_scale=1,
                ref_kl_scale=1,
            )
            return value

        return accumulate(batch, split, loss_of)

    return Peer(f"prime-rl {commit_of('prime_rl')}", advantage, loss)
