"""SkyRL, from the package index (its loss module; its configuration classes need Python 3.12).

Called: ``ppo_utils``' advantage estimators, policy losses and ``apply_loss_reduction_to_advantages_minibatch``.
Emulated: micro-batches are summed, as its trainer does after that reduction.
"""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from benchmarks.conformance.loading import StandInModule, bare, stand_ins
from benchmarks.conformance.padded import WIDTH, Padded, Peer, accumulate

LOSSES = {"regular": "ppo_policy_loss", "gspo": "gspo_policy_loss", "cispo": "compute_policy_loss_cispo"}
ESTIMATORS = {"grpo": "compute_grpo_outcome_advantage", "rloo": "compute_rloo_outcome_advantage"}


def open_peer() -> Peer:
    bare("skyrl", "skyrl.backends", "skyrl.backends.skyrl_train", "skyrl.backends.skyrl_train.utils")
    stand_ins("skyrl.train")
    ray = sys.modules["ray"] = StandInModule("ray")
    ray.is_initialized, ray.remote = lambda: False, lambda function: function
    module = importlib.import_module("skyrl.backends.skyrl_train.utils.ppo_utils")

    def advantage(batch: Padded, call: dict[str, Any]) -> list[float]:
        estimator = getattr(module, ESTIMATORS[call["estimator"]])
        made, _ = estimator(
            batch.token_rewards, batch.mask.double(), np.array(batch.group), grpo_norm_by_std=call.get("by_std", True)
        )
        return made[:, 0].tolist()

    def loss(batch: Padded, split: list[list[int]], call: dict[str, Any]) -> list[list[float]] | None:
        if len({len(rows) for rows in split}) > 1 and call["reduction"] == "token_mean_legacy":
            return None  # its trainer makes micro-batches of one size
        low, high = call.get("low", 0.2), call.get("high", 0.28)
        config = SimpleNamespace(
            policy_loss_type=call["mode"],
            eps_clip_low=low,
            eps_clip_high=high,
            clip_ratio_c=3.0,
            loss_reduction=call["reduction"],
            cispo=SimpleNamespace(cispo_anchor="old", cispo_eps_clip_low=1.0, cispo_eps_clip_high=high),
            off_policy_correction=SimpleNamespace(
                tis_ratio_type=None,
                sequence_mask_metric=None,
                outlier_token_is_threshold_low=None,
                outlier_token_is_threshold_high=None,
                token_mask_is_threshold_low=None,
                token_mask_is_threshold_high=None,
            ),
        )
        mask = (batch.kept if call.get("mask_truncated") else batch.mask).double()
        scaled = module.apply_loss_reduction_to_advantages_minibatch(
            batch.dense, mask, call["reduction"], len(split[0]), WIDTH
        )
        policy_loss = getattr(module, LOSSES[call["mode"]])

        def loss_of(rows: torch.Tensor, logp: torch.Tensor) -> torch.Tensor:
            return policy_loss(logp, batch.old_logp[rows], scaled[rows], config, mask[rows], batch.rollout_logp[rows])[
                0
            ]

        return accumulate(batch, split, loss_of)

    return Peer(f"skyrl {version('skyrl')}", advantage, loss)
