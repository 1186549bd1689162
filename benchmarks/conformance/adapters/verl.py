"""verl, from the package index.

Called: ``core_algos``' advantage estimators; ``workers.utils.losses.ppo_loss`` with its policy losses, aggregation and
KL; ``rollout_corr_helper``'s weights. Emulated: the counts that the trainer sets on a batch (``batch_num_tokens``,
``global_batch_size``), for one rank.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from benchmarks.conformance.padded import Padded, Peer, accumulate


def open_peer() -> Peer:
    return Peer(f"verl {version('verl')}", advantage, loss)


def advantage(batch: Padded, call: dict[str, Any]) -> list[float]:
    from verl.trainer.ppo import core_algos

    extra = {"norm_adv_by_std_in_grpo": call["by_std"]} if "by_std" in call else {}
    estimator = core_algos.get_adv_estimator_fn(call["estimator"])
    made, _ = estimator(
        token_level_rewards=batch.token_rewards,
        response_mask=batch.mask.double(),
        index=np.array(batch.group),
        **extra,
    )
    return made[:, 0].tolist()


def config_of(batch: Padded, call: dict[str, Any]) -> Any:
    from verl.workers.config import FSDPActorConfig
    from verl.workers.config.actor import PolicyLossConfig

    given = {"loss_agg_mode": call["agg"]} if call.get("agg") else {}
    if "kl" in call:
        given |= {"use_kl_loss": True, "kl_loss_coef": 0.04, "kl_loss_type": call["kl"]}
    return FSDPActorConfig(
        strategy="fsdp",
        rollout_n=batch.size,
        ppo_micro_batch_size_per_gpu=1,
        entropy_coeff=0.0,
        clip_ratio_low=call.get("low", 0.2),
        clip_ratio_high=call.get("high", 0.28),
        clip_ratio_c=call.get("dual", 3.0),
        policy_loss=PolicyLossConfig(loss_mode=call["mode"]),
        loss_scale_factor=call.get("scale"),
        **given,
    )


def loss(batch: Padded, split: list[list[int]], call: dict[str, Any]) -> list[list[float]]:
    from tensordict import TensorDict
    from verl.trainer.ppo import rollout_corr_helper
    from verl.utils import tensordict_utils
    from verl.workers.utils.losses import ppo_loss

    config, mask = config_of(batch, call), batch.kept if call.get("mask_truncated") else batch.mask
    fields = {"response_mask": mask.double(), "old_log_probs": batch.old_logp, "advantages": batch.dense,
              "ref_log_prob": batch.ref_logp}  # fmt: skip
    if call.get("tis"):
        fields["rollout_is_weights"], _ = rollout_corr_helper.compute_rollout_correction_weights(
            log_ratio=batch.old_logp - batch.rollout_logp, response_mask=mask.double(), rollout_is=call["tis"],
            rollout_is_threshold=call["cap"])  # fmt: skip

    def nest(tensors: list[torch.Tensor]) -> torch.Tensor:
        return torch.nested.as_nested_tensor(tensors, layout=torch.jagged)

    def loss_of(rows: torch.Tensor, logp: torch.Tensor) -> torch.Tensor:
        count = len(rows)
        lengths = [int(batch.lengths[row]) for row in rows]
        # a prompt of one token; the model's output at position t predicts token t + 1
        flat = torch.cat([torch.cat([logp[place, :length], logp.new_zeros(1)]) for place, length in enumerate(lengths)])
        ones = torch.ones(count, 1, dtype=torch.long)
        if call.get("nested"):
            data = {
                k: nest([v[row, :length] for row, length in zip(rows, lengths, strict=True)]) for k, v in fields.items()
            }
            data["prompts"] = nest(list(torch.ones(count, 1, dtype=torch.long)))
            data["responses"] = nest([torch.ones(length, dtype=torch.long) for length in lengths])
        else:
            data = {name: value[rows] for name, value in fields.items()}
            responses = batch.mask.long()[rows]
            data |= {"prompts": ones, "responses": responses, "attention_mask": torch.cat([ones, responses], 1)}
        made = TensorDict(data, batch_size=[count])
        tensordict_utils.assign_non_tensor(
            made, dp_size=1, batch_num_tokens=mask.sum().item(), global_batch_size=len(batch.lengths)
        )
        return ppo_loss(config, {"log_probs": flat}, made)[0]

    return accumulate(batch, split, loss_of)
