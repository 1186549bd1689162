"""What an objective is: seven slots filled with small functions, bound to numbers.

Shape suffixes: P prompts, G samples of one prompt, B rows (rollouts), T predictions of a row. Log-probabilities are in
nats. One equation holds them all (docs/objectives.md, "The equation"), with x the ratio, A the advantage and w the
weight:

    L = - sum_it w_it * surrogate(x_it, A_i)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ablate.objectives.parts import LOG_RATIO_LIMIT

if TYPE_CHECKING:
    from ablate.types import TrainBatch


@dataclass(frozen=True)
class Slots:
    """The seven slots, each filled with one part. The keyword-only parameters of a part are the knobs it reads.

    keep: ``(reward_G) -> bool``, may this group of raw verdict rewards train?
    shape: ``(reward_PG, truncated_PG, length_PG) -> reward_PG``.
    overlong: ``(advantage_PG, truncated_PG) -> (advantage_PG, in_loss_PG)``.
    advantage: ``(reward_PG) -> advantage_PG``.
    ratio: ``(log_ratio_BT, mask_BT) -> log_ratio_BT``, log of the x above; log_ratio is 0 outside the mask.
    surrogate: ``(ratio_BT, advantage_B1, logp_BT) -> surrogate_BT``, to be maximised.
    weight: ``(mask_BT, in_loss_B) -> weight_BT`` over the whole update.
    """

    keep: Callable[..., bool]
    shape: Callable[..., Tensor]
    overlong: Callable[..., tuple[Tensor, Tensor]]
    advantage: Callable[..., Tensor]
    ratio: Callable[..., Tensor]
    surrogate: Callable[..., Tensor]
    weight: Callable[..., Tensor]


SLOTS = tuple(field.name for field in fields(Slots))


@dataclass(frozen=True)
class Objective:
    """Seven filled slots with their numbers, ready for a trainer. Built by ``ablate.objectives.build``."""

    name: str
    label: str  # the name as tables and figures print it
    slots: Slots  # every part is a functools.partial that holds its knobs
    kl: Callable[..., Tensor] | None  # (logp_BT, ref_logp_BT) -> penalty_BT, coefficient included
    correction: Callable[..., Tensor] | None  # (old_minus_rollout_BT, mask_BT) -> factor_BT
    part_names: Mapping[str, str]  # slot or term -> name of its part, for people to read
    knobs: Mapping[str, Any]  # the knobs that the parts read
    waived_laws: Mapping[str, str]  # law -> the reason a part gives for not keeping it

    @property
    def needs_reference(self) -> bool:
        """With a KL term, ``batch.ref_logp_BT`` is required."""
        return self.kl is not None

    @property
    def needs_old_logp(self) -> bool:
        """False if the ratio forms no quotient with the old policy: ``batch.old_logp_BT`` may be anything finite."""
        return getattr(self.slots.ratio.func, "needs_old_logp", True)

    @property
    def is_per_sequence(self) -> bool:
        """True if the ratio has one value per sequence."""
        return getattr(self.slots.ratio.func, "is_per_sequence", False)

    @property
    def clip_bounds(self) -> tuple[float, float]:
        """The ratios at which the clip begins, below and above 1; 0 and infinity on a side without a bound."""
        return 1.0 - self.knobs.get("clip_low", 1.0), 1.0 + self.knobs.get("clip_high", math.inf)

    @property
    def has_clip(self) -> bool:
        return self.clip_bounds != (0.0, math.inf)

    def keeps(self, rewards: Sequence[float]) -> bool:
        """Does a group with these raw +1/-1 verdict rewards train?"""
        return self.slots.keep(rewards)

    def advantages(self, reward_PG: Tensor, truncated_PG: Tensor, length_PG: Tensor) -> tuple[Tensor, Tensor]:
        """Turn verdict rewards into advantages and say which rollouts are in the loss.

        Args:
            reward_PG: raw verdict rewards, +1 or -1.
            truncated_PG: bool, True where the context limit cut the response off.
            length_PG: response tokens.

        Returns:
            ``(advantage_PG, in_loss_PG)``: float64 and bool. A rollout out of the loss (``keep`` refused its group, or
            ``overlong`` took it out) has advantage 0 and does not count in N or T.
        """
        truncated_PG = truncated_PG.bool()
        shaped_PG = self.slots.shape(reward_PG.double(), truncated_PG, length_PG)
        advantage_PG, in_loss_PG = self.slots.overlong(self.slots.advantage(shaped_PG), truncated_PG)
        kept_P = torch.tensor([self.keeps(rewards) for rewards in reward_PG.tolist()], device=reward_PG.device)
        in_loss_PG = in_loss_PG & kept_P[:, None]
        return advantage_PG.masked_fill(~in_loss_PG, 0.0), in_loss_PG

    def weights(self, mask_BT: Tensor, in_loss_B: Tensor) -> Tensor:
        """Weights of all response tokens of one update: the rows of all ranks and micro-batches together.

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
        """surrogate_BT with KL penalty and correction; finite everywhere, even where the batch holds garbage."""
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
        """The batch's share of the loss of its update, a scalar. Micro-batches add up; nothing divides here."""
        return -(batch.weight_BT.to(logp_BT.dtype) * self.surrogate(logp_BT, batch)).sum()

    def on_policy_loss(self, logp_BT: Tensor, batch: TrainBatch) -> Tensor:
        """As ``loss``, where the old policy is the one that is differentiated: every ratio is exactly 1."""
        return self.loss(logp_BT, replace(batch, old_logp_BT=logp_BT.detach()))


def bounded_exp(log_BT: Tensor) -> Tensor:
    return log_BT.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()
