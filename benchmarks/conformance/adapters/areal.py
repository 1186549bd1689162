"""AReaL, from the package index.

Called: ``utils.data.Normalization`` and ``functional.ppo_actor_loss_fn``. Emulated: the weight of a micro-batch, its
share of the update's tokens, which the actor hands to the engine as ``loss_weight_fn``.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import Any

import torch

from benchmarks.conformance.loading import bare
from benchmarks.conformance.padded import Padded, Peer, accumulate


def open_peer() -> Peer:
    bare("areal", "areal.utils", "areal.utils.functional", "areal.api", "areal.infra")
    functional = importlib.import_module("areal.utils.functional.functional")
    data = importlib.import_module("areal.utils.data")
    norm_config = importlib.import_module("areal.api.cli_args").NormConfig

    def advantage(batch: Padded, call: dict[str, Any]) -> list[float]:
        config = norm_config(
            mean_level="group",
            std_level=call.get("std", "group"),
            group_size=batch.size,
            std_unbiased=call.get("unbiased", True),
            mean_leave1out=call.get("loo", False),
        )
        return data.Normalization(config)(batch.reward).double().tolist()

    def loss(batch: Padded, split: list[list[int]], call: dict[str, Any]) -> list[list[float]]:
        def loss_of(rows: torch.Tensor, logp: torch.Tensor) -> torch.Tensor:
            mask = batch.mask[rows]
            value, _ = functional.ppo_actor_loss_fn(
                logprobs=logp,
                proximal_logprobs=batch.old_logp[rows],
                old_logprobs=batch.old_logp[rows],
                advantages=batch.dense[rows],
                eps_clip=call.get("low", 0.2),
                eps_clip_higher=call.get("high", 0.28),
                loss_mask=mask,
                importance_sampling_level=call.get("level", "token"),
            )
            return value * mask.sum() / batch.mask.sum()

        return accumulate(batch, split, loss_of)

    return Peer(f"areal {version('areal')}", advantage, loss)
