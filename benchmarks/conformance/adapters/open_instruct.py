"""open-instruct, from a checkout.

Called: ``compute_grpo_loss``, ``compute_rho_correction``, ``estimate_kl`` and ``masked_mean``, each compiled from its
file, because the files import the whole trainer. The advantages are lines inside its data actor, which run here as
they stand. Emulated: the loss denominator ``token``, the tokens of an update, for one rank.
"""

from __future__ import annotations

import ast
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from benchmarks.conformance.loading import commit_of, function_of, package_of
from benchmarks.conformance.padded import Padded, Peer, accumulate

KINDS = SimpleNamespace(dapo="dapo", cispo="cispo")


def advantage_lines(path: Path) -> Any:
    """The statements from ``scores = ...`` to the choice of ``advantage_normalization_type``."""
    for node in ast.walk(ast.parse(path.read_text())):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            starts = [at for at, each in enumerate(body) if ast.unparse(each).startswith("scores = np.array(")]
            ends = [at for at, each in enumerate(body) if isinstance(each, ast.If)
                    and "advantage_normalization_type" in ast.unparse(each.test)]  # fmt: skip
            if starts and ends:
                return compile(ast.Module(body[starts[0] : ends[0] + 1], []), str(path), "exec")
    raise LookupError(f"{path} computes no advantages in one place any more")


def open_peer() -> Peer:
    package = package_of("open_instruct")
    lines = advantage_lines(package / "data_loader.py")
    names: dict[str, Any] = {"torch": torch, "GRPOLossType": KINDS, "RhoCorrection": SimpleNamespace}
    kl = function_of(package / "model_utils.py", "estimate_kl", {"torch": torch})
    names["model_utils"] = SimpleNamespace(estimate_kl=kl)
    for name in ("_rho_drop_masks", "_sequence_level_mean", "compute_rho_correction", "compute_grpo_loss"):
        function_of(package / "grpo_utils.py", name, names)
    mean = function_of(package / "rl_utils.py", "masked_mean", {"torch": torch})

    def advantage(batch: Padded, call: dict[str, Any]) -> list[float]:
        config = SimpleNamespace(
            num_samples_per_prompt_rollout=batch.size, advantage_normalization_type=call["normalization"]
        )
        scored, actor = SimpleNamespace(scores=batch.reward.numpy()), SimpleNamespace(config=config)
        found = {"np": np, "batch": scored, "self": actor}
        exec(lines, found)
        return found["advantages"].tolist()

    def loss(batch: Padded, split: list[list[int]], call: dict[str, Any]) -> list[list[float]]:
        config = SimpleNamespace(
            loss_fn=call["loss_fn"],
            clip_lower=call.get("low", 0.2),
            clip_higher=call.get("high", 0.28),
            kl_estimator=call.get("kl"),
            use_rho_correction="cap" in call,
            rho_clamp_upper_bound=call.get("cap", 0.0),
            **dict.fromkeys(("rho_clamp_lower_bound", "rho_mask_lower_bound", "rho_mask_upper_bound"), 0.0),
            rho_mask_sequence_level=False,
            rho_mask_tv_divergence=False,
        )

        def loss_of(rows: torch.Tensor, logp: torch.Tensor) -> torch.Tensor:
            mask, old, advantages = batch.mask[rows], batch.old_logp[rows], batch.dense[rows]
            rho = names["compute_rho_correction"](old, batch.rollout_logp[rows], mask, advantages, config)
            reference = batch.ref_logp[rows] if "kl" in call else None
            policy, _, penalty = names["compute_grpo_loss"](
                logp, torch.exp(logp - old), advantages, reference, config, rho.weights
            )
            return mean(policy + 0.04 * penalty, mask, None, batch.mask.sum())

        return accumulate(batch, split, loss_of)

    return Peer(f"open-instruct {commit_of('open_instruct')}", advantage, loss)
