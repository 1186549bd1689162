"""Cheap diagnostics of one update: clip, ratio, divergence, and where in the responses they occur.

A token's clip "binds" where it changes the surrogate's value: outside the range on the pessimistic side for PPO's
minimum, anywhere outside the range for a surrogate that clips the ratio itself.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ablate.objectives.base import Objective, call

if TYPE_CHECKING:
    from ablate.types import TrainBatch

NUM_BUCKETS = 4
# A float32 log-probability that is recomputed in another batch layout moves by about 1e-6.
RATIO_IS_ONE_WITHIN = 1e-5
TINY = 1e-100  # a ratio whose square underflows
MAX_LOG_RATIO = 50.0  # keeps every reported number finite, also when it is squared


@torch.no_grad()
def step_metrics(objective: Objective, logp_BT: Tensor, batch: TrainBatch) -> dict[str, float]:
    """All ``policy/...`` metrics of a whole update, over the tokens that are in the loss.

    ``kl_old_new`` is the k3 estimate of KL(old || new): mean of r - 1 - log r with samples of the old policy.
    ``mismatch_*`` compare the trainer's old log-probability with the engine's own.
    Buckets are quarters: ``position_1`` is the first quarter of every response, ``length_4`` holds the longest
    quarter of the rows.
    """
    metrics, active_BT = row_metrics(batch), batch.active_BT
    if not active_BT.any():
        return metrics | {"policy/clip_is_live": 0.0}
    if objective.needs_old_logp:
        metrics |= mismatch_metrics(batch, active_BT)
        metrics |= ratio_metrics(objective, logp_BT, batch, active_BT)
    return metrics


@torch.no_grad()
def row_metrics(batch: TrainBatch) -> dict[str, float]:
    """The ``policy/...`` metrics of an update's rows that need no model: how many are in the loss, their advantages."""
    active_B = batch.active_BT.any(dim=1)
    if not active_B.any():
        return {"policy/rows_in_loss": 0.0}
    advantage_B = batch.advantage_B.double()[active_B]
    return {
        "policy/rows_in_loss": float(active_B.sum()),
        "policy/advantage_std": advantage_B.std(correction=0).item(),
        "policy/advantage_zero": (advantage_B == 0).double().mean().item(),
    }


@torch.no_grad()
def selection_metrics(update: TrainBatch, before: TrainBatch) -> dict[str, float]:
    """Shares of the tokens and rows in the loss that ``select`` left; nothing where it is ``all``."""
    if update.selected_BT is None or not before.active_BT.any():
        return {}
    return {
        "policy/selected_tokens": (update.active_BT.sum() / before.active_BT.sum()).item(),
        "policy/selected_rows": (update.in_loss_B.sum() / before.in_loss_B.sum()).item(),
    }


def mismatch_metrics(batch: TrainBatch, active_BT: Tensor) -> dict[str, float]:
    gap = (batch.old_logp_BT - batch.rollout_logp_BT)[active_BT].double()
    return {
        "policy/mismatch_mean_abs": gap.abs().mean().item(),
        "policy/mismatch_abs_max": gap.abs().max().item(),
        "policy/mismatch_kl": (gap.clamp(max=MAX_LOG_RATIO).exp() - 1 - gap).mean().item(),
    }


def ratio_metrics(objective: Objective, logp_BT: Tensor, batch: TrainBatch, active_BT: Tensor) -> dict[str, float]:
    token = (logp_BT - batch.old_logp_BT)[active_BT].double()
    log_x_BT = objective.log_ratio(logp_BT, batch)
    deviation_BT = (log_x_BT.clamp(max=MAX_LOG_RATIO).exp() - 1.0).abs()
    ratio = log_x_BT[active_BT].double().clamp(max=MAX_LOG_RATIO).exp()
    metrics = {
        "policy/clip_is_live": float(token.abs().max() > RATIO_IS_ONE_WITHIN),
        "policy/ratio_max": ratio.max().item(),
        "policy/ratio_min": ratio.min().item(),
        "policy/kl_old_new": (token.clamp(max=MAX_LOG_RATIO).exp() - 1 - token).mean().item(),
        "policy/effective_sample_size": effective_sample_size(
            ratio if ratio.max() > TINY else scaled(log_x_BT[active_BT])
        ),
    }
    buckets = {"position": position_bucket(active_BT), "length": length_bucket(active_BT)}
    binds = clip_binds(objective, logp_BT, batch)
    if binds is not None:
        low_BT, high_BT = (side_BT & active_BT for side_BT in binds)
        for side, side_BT in (("low", low_BT), ("high", high_BT)):
            metrics[f"policy/clip_{side}"] = mean_over(side_BT, active_BT)
            metrics[f"policy/clip_{side}_sequences"] = sequence_mean_over(side_BT, active_BT)
        metrics |= by_bucket("policy/clip", low_BT | high_BT, active_BT, buckets)
    if objective.can_vanish:
        metrics["policy/vanished"] = vanished(objective, logp_BT, batch, active_BT)
    return metrics | by_bucket("policy/ratio_deviation", deviation_BT, active_BT, buckets)


def vanished(objective: Objective, logp_BT: Tensor, batch: TrainBatch, active_BT: Tensor) -> float:
    """Share of the tokens with an advantage A whose surrogate's gradient is below 1e-6 A: masked, or weighed to 0."""
    pulled_BT = active_BT & (batch.advantage_B != 0)[:, None]
    with torch.enable_grad():
        logp_BT = logp_BT.detach().requires_grad_()
        (slope_BT,) = torch.autograd.grad(objective.plain_surrogate(logp_BT, batch).sum(), logp_BT)
    gone_BT = slope_BT.abs() < 1e-6 * batch.advantage_B.abs()[:, None]
    return mean_over(gone_BT, pulled_BT) if pulled_BT.any() else 0.0


def effective_sample_size(ratio: Tensor) -> float:
    return (ratio.sum() ** 2 / (len(ratio) * (ratio**2).sum())).item()


def scaled(log_ratio: Tensor) -> Tensor:
    """Ratios relative to the largest one, which leaves the effective sample size as it is."""
    return (log_ratio.double() - log_ratio.max()).exp()


def clip_binds(objective: Objective, logp_BT: Tensor, batch: TrainBatch) -> tuple[Tensor, Tensor] | None:
    """(low_BT, high_BT): where the clip changes the surrogate below and above 1; None for an objective without one."""
    if not objective.has_clip:
        return None
    log_BT = objective.log_ratio(logp_BT, batch).clamp(max=MAX_LOG_RATIO)
    ratio_BT, advantage_B1 = log_BT.exp(), batch.advantage_B.to(log_BT.dtype)[:, None]
    arguments = ratio_BT, advantage_B1, torch.ones_like(ratio_BT), batch.mask_BT, log_BT
    surrogate = objective.slots.surrogate
    wide = {"clip_low": 1.0, "clip_high": float("inf")}
    unclipped = partial(surrogate, **{knob: wide[knob] for knob in wide if knob in surrogate.keywords})
    changed_BT = call("surrogate", surrogate, *arguments) != call("surrogate", unclipped, *arguments)
    return changed_BT & (ratio_BT < 1.0), changed_BT & (ratio_BT > 1.0)


def position_bucket(active_BT: Tensor) -> Tensor:
    """Which quarter of its own response a token is in, 0-based."""
    position_BT = active_BT.cumsum(dim=1) - 1
    return (position_BT * NUM_BUCKETS).div(active_BT.sum(dim=1, keepdim=True).clamp(min=1), rounding_mode="floor")


def length_bucket(active_BT: Tensor) -> Tensor:
    """Which quarter of the rows in the loss, ordered by length, a token's row is in, 0-based; ties by row order."""
    length_B = active_BT.sum(dim=1)
    num_absent = int((length_B == 0).sum())
    rank_B = length_B.argsort(stable=True).argsort(stable=True) - num_absent
    bucket_B = (rank_B * NUM_BUCKETS).div(max(len(length_B) - num_absent, 1), rounding_mode="floor")
    return bucket_B[:, None].expand_as(active_BT)


def by_bucket(name: str, value_BT: Tensor, active_BT: Tensor, buckets: dict[str, Tensor]) -> dict[str, float]:
    """Mean of ``value`` over the tokens of each bucket that has tokens."""
    means = {}
    for axis, bucket_BT in buckets.items():
        for index in range(NUM_BUCKETS):
            inside_BT = active_BT & (bucket_BT == index)
            if inside_BT.any():
                means[f"{name}_{axis}_{index + 1}"] = mean_over(value_BT, inside_BT)
    return means


def mean_over(value_BT: Tensor, inside_BT: Tensor) -> float:
    return value_BT[inside_BT].double().mean().item()


def sequence_mean_over(value_BT: Tensor, active_BT: Tensor) -> float:
    """Mean over rows of each row's own token mean."""
    num_tokens_B = active_BT.sum(dim=1)
    share_B = (value_BT & active_BT).sum(dim=1).double() / num_tokens_B.clamp(min=1)
    return share_B[num_tokens_B > 0].mean().item()
