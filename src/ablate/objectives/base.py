"""What an objective is: six slots filled with small functions, bound to numbers.

Shape suffixes: P prompts, G samples of one prompt, B rows (rollouts), T predictions of a row. Log-probabilities are in
nats. One equation holds them all (DESIGN.md, section 1), with x the ratio, A the advantage and w the weight:

    L = - sum_it w_it * surrogate(x_it, A_i)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ablate.objectives.metrics import step_metrics
from ablate.objectives.parts import LOG_RATIO_LIMIT

if TYPE_CHECKING:
    from ablate.types import TrainBatch

SLOTS = ("keep", "shape", "advantage", "ratio", "surrogate", "weight")


@dataclass(frozen=True)
class Preset:
    """The six slots. A preset file returns one; keyword-only parameters of a part are the knobs that it reads.

    keep: ``(reward_G) -> bool``, may this group of raw verdict rewards train? Only asked under dynamic sampling.
    shape: ``(reward_PG, truncated_PG, length_PG) -> reward_PG``.
    advantage: ``(reward_PG) -> advantage_PG``.
    ratio: ``(log_ratio_BT, mask_BT) -> log_ratio_BT``, log of the x above; log_ratio is 0 outside the mask.
    surrogate: ``(ratio_BT, advantage_B1, logp_BT) -> surrogate_BT``, to be maximised.
    weight: ``(mask_BT, in_loss_B) -> weight_BT`` over the whole optimizer step.
    """

    keep: Callable[..., bool]
    shape: Callable[..., Tensor]
    advantage: Callable[..., Tensor]
    ratio: Callable[..., Tensor]
    surrogate: Callable[..., Tensor]
    weight: Callable[..., Tensor]


@dataclass(frozen=True)
class Objective:
    """A preset with its toggles and numbers, ready for a trainer. Built by ``ablate.objectives.build``."""

    name: str
    slots: Preset  # every part bound to its knobs
    dynamic_sampling: bool
    overlong: str  # off | zero_advantage | mask | soft_penalty
    kl: Callable[..., Tensor] | None  # (logp_BT, ref_logp_BT) -> penalty_BT, coefficient included
    correction: Callable[..., Tensor] | None  # (old_minus_rollout_BT, mask_BT) -> factor_BT
    part_names: Mapping[str, str]  # slot or term -> name of its part
    knobs: Mapping[str, Any]
    waived_laws: Mapping[str, str]  # law -> the reason a part states for not keeping it

    @property
    def needs_reference(self) -> bool:
        """With a KL term, ``batch.ref_logp_BT`` is required."""
        return self.kl is not None

    @property
    def needs_old_logp(self) -> bool:
        """False for plain likelihood: no ratio is formed, and ``batch.old_logp_BT`` may be anything finite."""
        return self.part_names["ratio"] != "unit"

    def keeps(self, rewards: Sequence[float]) -> bool:
        """Does a group with these raw +1/-1 verdict rewards train?"""
        return not self.dynamic_sampling or self.slots.keep(rewards)

    def advantages(self, reward_PG: Tensor, truncated_PG: Tensor, length_PG: Tensor) -> tuple[Tensor, Tensor]:
        """Turn verdict rewards into advantages and say which rollouts are in the loss.

        Args:
            reward_PG: raw verdict rewards, +1 or -1.
            truncated_PG: bool, True where the context limit cut the response off.
            length_PG: response tokens.

        Returns:
            ``(advantage_PG, in_loss_PG)``: float64 and bool. A rollout out of the loss (its group was not kept, or
            ``overlong=mask`` took it out) has advantage 0 and does not count in N or T.
        """
        truncated_PG = truncated_PG.bool()
        shaped_PG = self.slots.shape(reward_PG.double(), truncated_PG, length_PG)
        advantage_PG = self.slots.advantage(shaped_PG)
        kept_P = torch.tensor([self.keeps(rewards) for rewards in reward_PG.tolist()], device=reward_PG.device)
        in_loss_PG = kept_P[:, None].expand_as(truncated_PG).clone()
        if self.overlong == "mask":
            in_loss_PG &= ~truncated_PG
        if self.overlong == "zero_advantage":
            advantage_PG = advantage_PG.masked_fill(truncated_PG, 0.0)
        return advantage_PG.masked_fill(~in_loss_PG, 0.0), in_loss_PG

    def weights(self, mask_BT: Tensor, in_loss_B: Tensor) -> Tensor:
        """Weights of all response tokens of one optimizer step: every rank's and every micro-batch's rows together.

        Returns:
            weight_BT, float64, 0 outside the mask and for rows that are not in the loss.
        """
        in_loss_B = in_loss_B & mask_BT.any(dim=1)
        return self.slots.weight(mask_BT & in_loss_B[:, None], in_loss_B)

    def log_ratio(self, logp_BT: Tensor, batch: TrainBatch) -> Tensor:
        """log x: what the ratio slot makes of log pi - log pi_old."""
        token_BT = torch.where(batch.mask_BT, logp_BT - batch.old_logp_BT.to(logp_BT.dtype), 0.0)
        return self.slots.ratio(token_BT, batch.mask_BT)

    def surrogate(self, logp_BT: Tensor, batch: TrainBatch) -> Tensor:
        """surrogate_BT with its KL penalty and its correction; finite everywhere, whatever stands outside the mask."""
        ratio_BT = bounded_exp(self.log_ratio(logp_BT, batch))
        logp_BT = torch.where(batch.mask_BT, logp_BT, 0.0)
        surrogate_BT = self.slots.surrogate(ratio_BT, batch.advantage_B.to(logp_BT.dtype)[:, None], logp_BT)
        if self.correction is not None:
            gap_BT = torch.where(batch.mask_BT, batch.old_logp_BT - batch.rollout_logp_BT, 0.0).to(logp_BT.dtype)
            surrogate_BT = surrogate_BT * self.correction(gap_BT, batch.mask_BT).detach()
        if self.kl is not None:
            ref_BT = torch.where(batch.mask_BT, batch.ref_logp_BT.to(logp_BT.dtype), 0.0)
            surrogate_BT = surrogate_BT - self.kl(logp_BT, ref_BT)
        return surrogate_BT

    def loss(self, logp_BT: Tensor, batch: TrainBatch) -> Tensor:
        """The batch's share of the step's loss, a scalar. Micro-batches add up to the step; nothing divides here."""
        return -(batch.weight_BT.to(logp_BT.dtype) * self.surrogate(logp_BT, batch)).sum()

    def metrics(self, logp_BT: Tensor, batch: TrainBatch) -> dict[str, float]:
        """Cheap diagnostics of a whole optimizer step, named ``policy/...``; see ``ablate.objectives.metrics``."""
        with torch.no_grad():
            return step_metrics(self, logp_BT.detach(), batch)


def bounded_exp(log_BT: Tensor) -> Tensor:
    return log_BT.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()
