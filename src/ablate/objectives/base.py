"""What an objective is: eight slots filled with small functions, bound to numbers.

Shape suffixes: P prompts, G samples of one prompt, B rows (rollouts), T predictions of a row. Log-probabilities are in
nats. One equation holds them all (docs/objectives.md, "The equation"), with x the ratio, A the advantage and w the
weight:

    L = - sum_it w_it * surrogate(x_it, A_i)
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ablate.errors import UserError
from ablate.objectives import parts
from ablate.objectives.parts import LOG_RATIO_LIMIT

if TYPE_CHECKING:
    from ablate.types import TrainBatch


POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
# slot or term -> what its part may receive. A part receives the arguments that it names.
OFFERED: dict[str, tuple[str, ...]] = {
    "keep": ("reward_G",),
    "shape": ("reward_PG", "truncated_PG", "length_PG"),
    "overlong": ("advantage_PG", "truncated_PG"),
    "advantage": ("reward_PG", "length_PG"),
    "ratio": ("log_ratio_BT", "mask_BT"),
    "surrogate": ("ratio_BT", "advantage_B1", "logp_BT", "mask_BT", "log_ratio_BT"),
    "select": ("advantage_B1", "old_logp_BT", "gap_BT", "mask_BT", "group_B", "entropy_BT", "seed"),
    "weight": ("mask_BT", "in_loss_B", "group_B"),
    "kl": ("logp_BT", "ref_logp_BT"),
    "correction": ("gap_BT", "mask_BT"),
}
OF_THE_OLD_POLICY = {"old_logp_BT", "gap_BT", "entropy_BT"}


@dataclass(frozen=True)
class Slots:
    """The eight slots, each filled with one part. The keyword-only parameters of a part are the knobs it reads.

    ``OFFERED`` lists the arguments of each slot; a part names those that it needs.

    keep: may this group of raw verdict rewards train? A bool. Groups that may not are in no statistic of ``advantage``.
    shape: reward_PG.
    overlong: (advantage_PG, in_loss_PG).
    advantage: advantage_PG, from the rewards of the groups that train.
    ratio: log of the x above; log_ratio is 0 outside the mask.
    surrogate: surrogate_BT, to be maximised. ``mask_BT`` is the whole response, whatever ``select`` took out, and
        ``log_ratio_BT`` is log x before it is cut at +-80 nats.
    select: keep_BT, the tokens of an update that stay in the loss. It sees the whole update; its ``mask_BT`` holds the
        tokens that ``keep`` and ``overlong`` left; gap is log pi_old - log pi_engine and entropy the old policy's.
    weight: weight_BT over the whole update; its ``mask_BT`` and ``in_loss_B`` hold what ``select`` left.
    """

    keep: Callable[..., bool]
    shape: Callable[..., Tensor]
    overlong: Callable[..., tuple[Tensor, Tensor]]
    advantage: Callable[..., Tensor]
    ratio: Callable[..., Tensor]
    surrogate: Callable[..., Tensor]
    select: Callable[..., Tensor]
    weight: Callable[..., Tensor]


SLOTS = tuple(field.name for field in fields(Slots))


@dataclass(frozen=True)
class Objective:
    """Eight filled slots with their numbers, ready for a trainer. Built by ``ablate.objectives.build``."""

    name: str
    label: str  # the name as tables and figures print it
    slots: Slots  # every part is a functools.partial that holds its knobs
    kl: Callable[..., Tensor] | None  # penalty_BT, coefficient included
    correction: Callable[..., Tensor] | None  # factor_BT, without gradient
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
    def min_group_size(self) -> int:
        """The fewest rollouts of a prompt for which the advantage is defined."""
        return self.knobs.get("pass_k", 1)

    @property
    def can_vanish(self) -> bool:
        """True if the surrogate can set a token's gradient to 0 without a clip range."""
        return getattr(self.slots.surrogate.func, "can_vanish", False)

    @property
    def selects(self) -> bool:
        """False if every token of the rows in the loss stays in the loss."""
        return self.slots.select.func is not parts.select.all_tokens

    @property
    def selects_by_old_policy(self) -> bool:
        """True if the old policy must be known before it is known which tokens train."""
        return not OF_THE_OLD_POLICY.isdisjoint(arguments_of(self.slots.select, "select"))

    @property
    def needs_entropy(self) -> bool:
        """With such a ``select``, ``batch.entropy_BT`` is required."""
        return "entropy_BT" in arguments_of(self.slots.select, "select")

    @property
    def clip_bounds(self) -> tuple[float, float]:
        """The ratios at which the clip begins, below and above 1; 0 and infinity on a side without a bound."""
        return 1.0 - self.knobs.get("clip_low", 1.0), 1.0 + self.knobs.get("clip_high", math.inf)

    @property
    def has_clip(self) -> bool:
        return self.clip_bounds != (0.0, math.inf)

    def keeps(self, rewards: Sequence[float]) -> bool:
        """Does a group with these raw +1/-1 verdict rewards train?"""
        return call("keep", self.slots.keep, rewards)

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
        shaped_PG = call("shape", self.slots.shape, reward_PG.double(), truncated_PG, length_PG)
        kept_P = torch.tensor([self.keeps(rewards) for rewards in reward_PG.tolist()], device=reward_PG.device)
        advantage_PG = torch.zeros_like(shaped_PG)
        if kept_P.any():
            advantage_PG[kept_P] = call("advantage", self.slots.advantage, shaped_PG[kept_P], length_PG[kept_P])
        advantage_PG, in_loss_PG = call("overlong", self.slots.overlong, advantage_PG, truncated_PG)
        in_loss_PG = in_loss_PG & kept_P[:, None]
        return advantage_PG.masked_fill(~in_loss_PG, 0.0), in_loss_PG

    def selection(self, batch: TrainBatch, seed: int) -> Tensor:
        """keep_BT: the tokens of one update that stay in the loss. Pass the update's rows in the order of their draws.

        Args:
            seed: of this update, for a part that draws at random.

        Raises:
            UserError: if the part reads entropies and the batch has none.
        """
        inside_BT = batch.mask_BT & batch.in_loss_B[:, None]
        if not inside_BT.any():
            return inside_BT
        if self.needs_entropy and batch.entropy_BT is None:
            raise UserError(f"select={self.part_names['select']} needs the old policy's entropy: add it")
        of_tokens = (batch.old_logp_BT, batch.old_logp_BT - batch.rollout_logp_BT, batch.entropy_BT)
        old_BT, gap_BT, entropy_BT = (
            None if value_BT is None else torch.where(inside_BT, value_BT, 0.0) for value_BT in of_tokens
        )
        given = batch.advantage_B[:, None], old_BT, gap_BT, inside_BT, batch.group_B, entropy_BT, seed
        return call("select", self.slots.select, *given) & inside_BT

    def weights(self, mask_BT: Tensor, in_loss_B: Tensor, group_B: Tensor | None = None) -> Tensor:
        """Weights of all response tokens of one update: the rows of all ranks and micro-batches together.

        Args:
            mask_BT: the tokens that ``select`` left.
            group_B: number of the prompt of each row, for a weight that reads it.

        Returns:
            weight_BT, float64, 0 outside the mask and for rows that are not in the loss.
        """
        in_loss_B = in_loss_B & mask_BT.any(dim=1)
        return call("weight", self.slots.weight, mask_BT & in_loss_B[:, None], in_loss_B, group_B)

    def log_ratio(self, logp_BT: Tensor, batch: TrainBatch) -> Tensor:
        """log x: what the ratio slot makes of log pi - log pi_old."""
        token_BT = torch.where(batch.mask_BT, logp_BT - batch.old_logp_BT.to(logp_BT.dtype), 0.0)
        return call("ratio", self.slots.ratio, token_BT, batch.mask_BT)

    def plain_surrogate(self, logp_BT: Tensor, batch: TrainBatch) -> Tensor:
        """surrogate_BT of the slot alone, without KL penalty and correction."""
        log_BT = self.log_ratio(logp_BT, batch)
        advantage_B1 = batch.advantage_B.to(logp_BT.dtype)[:, None]
        logp_BT = torch.where(batch.mask_BT, logp_BT, 0.0)
        given = bounded_exp(log_BT), advantage_B1, logp_BT, batch.mask_BT, log_BT
        return call("surrogate", self.slots.surrogate, *given)

    def surrogate(self, logp_BT: Tensor, batch: TrainBatch) -> Tensor:
        """surrogate_BT with KL penalty and correction; finite everywhere, even where the batch holds garbage."""
        surrogate_BT = self.plain_surrogate(logp_BT, batch)
        if self.correction is not None:
            surrogate_BT = surrogate_BT * self.correction_factor(batch).to(logp_BT.dtype)
        if self.kl is not None:
            logp_BT = torch.where(batch.mask_BT, logp_BT, 0.0)
            ref_BT = torch.where(batch.mask_BT, batch.ref_logp_BT.to(logp_BT.dtype), 0.0)
            surrogate_BT = surrogate_BT - call("kl", self.kl, logp_BT, ref_BT)
        return surrogate_BT

    def correction_factor(self, batch: TrainBatch) -> Tensor:
        """factor_BT of an objective with a correction."""
        gap_BT = torch.where(batch.mask_BT, batch.old_logp_BT - batch.rollout_logp_BT, 0.0)
        return call("correction", self.correction, gap_BT, batch.mask_BT).detach()

    def loss(self, logp_BT: Tensor, batch: TrainBatch) -> Tensor:
        """The batch's share of the loss of its update, a scalar. Micro-batches add up; nothing divides here."""
        return -(batch.weight_BT.to(logp_BT.dtype) * self.surrogate(logp_BT, batch)).sum()

    def on_policy_loss(self, logp_BT: Tensor, batch: TrainBatch) -> Tensor:
        """As ``loss``, where the old policy is the one that is differentiated: every ratio is exactly 1."""
        return self.loss(logp_BT, replace(batch, old_logp_BT=logp_BT.detach()))


def bounded_exp(log_BT: Tensor) -> Tensor:
    return log_BT.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()


def call(slot: str, part: Callable, *values: Any) -> Any:
    """Hand a part those of the slot's arguments that it names."""
    offered, names = dict(zip(OFFERED[slot], values, strict=True)), arguments_of(part, slot)
    if offered.keys() >= set(names):
        return part(**{name: offered[name] for name in names})
    return part(*values[: len(names)])  # a user's own names: the first arguments, in the order of OFFERED


def arguments_of(part: Callable, slot: str) -> tuple[str, ...]:
    return argument_names(getattr(part, "func", part), slot)


@cache
def argument_names(function: Callable, slot: str) -> tuple[str, ...]:
    """The positional parameters that need a value or that the slot offers."""
    found = [each for each in inspect.signature(function).parameters.values() if each.kind in POSITIONAL]
    return tuple(each.name for each in found if each.default is each.empty or each.name in OFFERED[slot])
