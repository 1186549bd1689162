"""NeMo-RL, from a checkout.

Called: ``GRPOAdvantageEstimator.compute_advantage`` and ``ClippedPGLossFn``. Emulated: the counts of an update
(``global_valid_seqs``, ``global_valid_toks``), for one rank; ``overlong_filtering`` sets ``sample_mask`` to 0.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch

from benchmarks.conformance.loading import bare, commit_of, stand_ins
from benchmarks.conformance.padded import Padded, Peer, accumulate

OPTIONS = {"token": "token_level_loss", "sequence": "sequence_level_importance_ratios", "cispo": "use_cispo",
           "no_ratio": "disable_ppo_ratio", "low": "ratio_clip_min", "high": "ratio_clip_max",
           "kl": "reference_policy_kl_type"}  # fmt: skip


def open_peer() -> Peer:
    bare("nemo_rl", "nemo_rl.algorithms")
    stand_ins("nemo_rl.algorithms.x_token", "nemo_rl.algorithms.logits_sampling_utils", "nemo_rl.distributed",
              "nemo_rl.models", "nemo_rl.data", "nemo_rl.utils")  # fmt: skip
    losses = importlib.import_module("nemo_rl.algorithms.loss.loss_functions")
    estimators = importlib.import_module("nemo_rl.algorithms.advantage_estimator")

    def advantage(batch: Padded, call: dict[str, Any]) -> list[float]:
        config = estimators.AdvEstimatorConfig(**call)
        estimator = estimators.GRPOAdvantageEstimator(config, losses.ClippedPGLossConfig())
        return estimator.compute_advantage(batch.group[:, None], batch.reward.float(), batch.mask)[:, 0].tolist()

    def loss(batch: Padded, split: list[list[int]], call: dict[str, Any]) -> list[list[float]]:
        options = {name: call[key] for key, name in OPTIONS.items() if key in call}
        options["reference_policy_kl_penalty"] = 0.04 if "kl" in call else 0.0
        if "tis" in call:
            options |= {"use_importance_sampling_correction": True, "truncated_importance_sampling_ratio": call["tis"],
                        "truncated_importance_sampling_type": call.get("tis_type", "tis")}  # fmt: skip
        function = losses.ClippedPGLossFn(losses.ClippedPGLossConfig(**options))
        kept = (~batch.truncated if call.get("mask_truncated") else torch.ones_like(batch.truncated)).double()
        tokens = (batch.mask.double() * kept[:, None]).sum()

        def shifted(tensor: torch.Tensor) -> torch.Tensor:
            """Their columns begin with the prompt's last token."""
            return torch.cat([tensor.new_zeros(len(tensor), 1), tensor], dim=1)

        def loss_of(rows: torch.Tensor, logp: torch.Tensor) -> torch.Tensor:
            data = {
                "advantages": batch.dense,
                "prev_logprobs": batch.old_logp,
                "generation_logprobs": batch.rollout_logp if "tis" in call else batch.old_logp,
                "reference_policy_logprobs": batch.ref_logp,
                "token_mask": batch.mask.double(),
            }
            made = {name: shifted(value[rows]) for name, value in data.items()} | {"sample_mask": kept[rows]}
            return function(logp, made, kept.sum(), tokens)[0]

        return accumulate(batch, split, loss_of)

    return Peer(f"nemo-rl {commit_of('nemo_rl')}", advantage, loss)
