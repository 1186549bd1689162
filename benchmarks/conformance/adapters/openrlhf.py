"""OpenRLHF, from the package index.

Called: the experience maker's ``compute_advantages_and_returns``, ``models.loss.PolicyLoss``, and
``utils.loss_utils._optimizer_step_loss_norm`` for the counts of an update. Emulated: DeepSpeed divides the loss by the
number of accumulated micro-batches.
"""

from __future__ import annotations

import ast
import importlib
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from benchmarks.conformance.loading import bare, stand_ins
from benchmarks.conformance.padded import Padded, Peer, accumulate

METHOD = "compute_advantages_and_returns"


def open_peer() -> Peer:
    bare("openrlhf", "openrlhf.models", "openrlhf.trainer", "openrlhf.trainer.ppo_utils", "openrlhf.trainer.ray",
         "openrlhf.utils")  # fmt: skip
    stand_ins("deepspeed", "flash_attn", "vllm", "ray", "openrlhf.trainer.ray.launcher",
              "openrlhf.utils.logging_utils", "openrlhf.utils.utils")  # fmt: skip
    losses = importlib.import_module("openrlhf.models.loss")
    norms = importlib.import_module("openrlhf.utils.loss_utils")
    maker = importlib.import_module("openrlhf.trainer.ppo_utils.experience_maker")
    classes = [node for node in ast.parse(Path(maker.__file__).read_text()).body if isinstance(node, ast.ClassDef)]
    owner = next(node.name for node in classes if any(getattr(each, "name", "") == METHOD for each in node.body))

    def advantage(batch: Padded, call: dict[str, Any]) -> list[float]:
        estimator = call["estimator"]
        args = SimpleNamespace(
            rollout=SimpleNamespace(n_samples_per_prompt=batch.size),
            reward=SimpleNamespace(clip_range=None, overlong_buffer_len=None, stop_properly_penalty_coef=None),
            algo=SimpleNamespace(
                advantage=SimpleNamespace(estimator=estimator, gamma=1.0, lambd=1.0, no_std_norm=False)
            ),
        )
        cls = getattr(maker, owner)
        made = cls.__new__(cls)
        made.__dict__.update(args=args, strategy=SimpleNamespace(args=args), advantage_estimator=estimator,
                             kl_ctl=SimpleNamespace(value=0.0))  # fmt: skip
        maker.apply_length_penalties = lambda *values: None
        experience = SimpleNamespace(
            index=list(range(len(batch.lengths))),
            rewards=batch.reward.clone(),
            action_mask=batch.mask.long(),
            kl=torch.zeros_like(batch.old_logp),
            info={},
            values=None,
        )
        getattr(cls, METHOD)(made, [experience])
        return experience.advantages[:, 0].double().tolist()

    def loss(batch: Padded, split: list[list[int]], call: dict[str, Any]) -> list[list[float]]:
        correction = {}
        if "tis" in call:
            correction = {"is_correction_level": "token", "is_correction_mode": "clip",
                          "is_correction_threshold": [0.0, call["tis"]]}  # fmt: skip
        function = losses.PolicyLoss(
            call.get("low", 0.2),
            call.get("high", 0.28),
            token_level_loss=call.get("token", True),
            policy_loss_type=call.get("mode", "ppo"),
            **correction,
        )
        mask = (batch.kept if call.get("mask_truncated") else batch.mask).double()
        counts = {} if call.get("alone") else norms._optimizer_step_loss_norm(
            [mask[rows] for rows in split], None, 1, len(split)
        )  # fmt: skip

        def loss_of(rows: torch.Tensor, logp: torch.Tensor) -> torch.Tensor:
            given = logp, batch.old_logp[rows], batch.dense[rows], mask[rows], batch.rollout_logp[rows]
            return function(*given, **counts)[0] / len(split)

        return accumulate(batch, split, loss_of)

    return Peer(f"openrlhf {version('openrlhf')}", advantage, loss)
