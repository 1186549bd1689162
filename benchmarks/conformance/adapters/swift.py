"""ms-swift, from the package index.

Called: ``rl_core.advantage.compute_advantages`` and GRPOTrainer's ``_compute_loss_and_metrics`` and
``_undo_gradient_accumulation_scaling``, compiled one by one from the installed files, because importing its packages
loads every model. Emulated: the Trainer divides the loss by the number of accumulated micro-batches.
"""

from __future__ import annotations

import ast
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from benchmarks.conformance.loading import function_of
from benchmarks.conformance.padded import WIDTH, Padded, Peer, accumulate, same

TYPES = "WINDOW_NORMALIZED_LOSS_TYPES"


def open_peer() -> Peer:
    folder = next(Path(each, "swift") for each in sys.path if Path(each, "swift", "rlhf_trainers").is_dir())
    trainer = folder / "rlhf_trainers" / "grpo_trainer.py"
    names: dict[str, Any] = {"torch": torch, "gather": same, "gather_object": same, "nanstd": None}
    names |= {"nanmax": torch.max, "nanmin": torch.min, "logger": SimpleNamespace(info=print)}
    for node in ast.parse(trainer.read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == TYPES:
            exec(compile(ast.Module([node], []), str(trainer), "exec"), names)
    compute = function_of(trainer, "_compute_loss_and_metrics", names, inside="GRPOTrainer")
    undo = function_of(trainer, "_undo_gradient_accumulation_scaling", names, inside="GRPOTrainer")
    advantages = function_of(folder / "rl_core" / "advantage.py", "compute_advantages", names)

    def advantage(batch: Padded, call: dict[str, Any]) -> list[float]:
        how = {"advantage_estimator": call.get("estimator", "grpo"), "scale_rewards": call["scale"]}
        made, _ = advantages(batch.reward[:, None], torch.ones(1, dtype=torch.float64), batch.size, **how)
        return made.tolist()

    def loss(batch: Padded, split: list[list[int]], call: dict[str, Any]) -> list[list[float]] | None:
        if len({len(rows) for rows in split}) > 1:
            return None  # per_device_train_batch_size is one number
        accelerator = SimpleNamespace(num_processes=1, device=torch.device("cpu"), gather=same, gather_for_metrics=same)
        args = SimpleNamespace(
            delta=None, top_entropy_quantile=1.0, log_entropy=False, gradient_accumulation_steps=len(split),
            per_device_train_batch_size=len(split[0]),
        )  # fmt: skip
        made = SimpleNamespace(
            model=SimpleNamespace(training=True), accelerator=accelerator, args=args, compute_entropy=False,
            overlong_filter=call.get("mask_truncated", False), beta=call.get("beta", 0.0), kl_in_reward=False,
            rollout_importance_sampling_mode=None, log_rollout_offpolicy_metrics=False,
            disable_rollout_importance_sampling=True, importance_sampling_level=call.get("level", "token"),
            loss_type=call["loss_type"], epsilon_low=call.get("low", 0.2), epsilon_high=call.get("high", 0.28),
            off_policy_sequence_mask_delta=None, max_completion_length=WIDTH, sdar_loss_coef=0.0,
            chord_sft_iterator=None, current_gradient_accumulation_steps=len(split), model_accepts_loss_kwargs=False,
            compute_loss_func=None, use_gym_env=False, _has_teacher=False, num_generations=batch.size,
        )  # fmt: skip
        made._undo_gradient_accumulation_scaling = lambda value: undo(made, value)

        def loss_of(rows: torch.Tensor, logp: torch.Tensor) -> torch.Tensor:
            made._get_per_token_logps_and_entropies = lambda *values, **options: (logp, None)
            # num_items_in_batch is counted before overlong_filter, as _prepare_batch_inputs does
            inputs = SimpleNamespace(
                completion_mask=batch.mask[rows], truncated_mask=batch.truncated[rows],
                seq_lengths=batch.lengths[rows] + 1, old_per_token_logps=batch.old_logp[rows],
                ref_per_token_logps=batch.ref_logp[rows], advantages=batch.dense[rows],
                num_items_in_batch=batch.mask.sum(), rollout_per_token_logps=None, teacher_per_token_logps=None,
            )  # fmt: skip
            return compute(made, None, {}, inputs)[0] / len(split)

        return accumulate(batch, split, loss_of)

    return Peer(f"ms-swift {version('ms-swift')}", advantage, loss)
