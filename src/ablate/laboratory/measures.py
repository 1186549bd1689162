"""Measures of one objective on one batch, in log-probability space. Pure functions of tensors.

A tidy row is ``{"measure", "bucket", "value"}``; the bench adds the checkpoint, the objective and the toggle.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ablate.objectives import Objective
from ablate.objectives.laws.step import loss_and_gradient
from ablate.objectives.metrics import step_metrics
from ablate.types import TrainBatch

MIN_ROWS = 3  # of a bucket of shorter rows: the share of one row says nothing about a length
WIDEST_LOG_RATIO = 0.7  # nats: histograms show ratios from one half to two, which covers every clip range in use

# The metrics of training that the laboratory reports.
METRICS = {
    "policy/clip_low": "clip_low_tokens",
    "policy/clip_high": "clip_high_tokens",
    "policy/clip_low_sequences": "clip_low_sequences",
    "policy/clip_high_sequences": "clip_high_sequences",
    "policy/effective_sample_size": "effective_sample_size",
    "policy/ratio_max": "ratio_max",
    "policy/clip_is_live": "clip_is_live",
    "policy/vanished": "vanished_tokens",
}


@dataclass(frozen=True)
class Buckets:
    """Rows by response length and tokens by position; edges are upper bounds, the last one the longest response."""

    length_edges: tuple[int, ...]
    position_edges: tuple[int, ...]

    def of_length(self, mask_BT: Tensor) -> Tensor:
        """Index [B, T] of the bucket that the row's length falls into."""
        return torch.bucketize(mask_BT.sum(dim=1), torch.tensor(self.length_edges))[:, None].expand_as(mask_BT)

    def of_position(self, mask_BT: Tensor) -> Tensor:
        """Index [B, T] of the bucket of the token's position in its response, counted from 1."""
        return torch.bucketize(mask_BT.cumsum(dim=1), torch.tensor(self.position_edges))


def cut_buckets(mask_BT: Tensor, count: int) -> Buckets:
    """Length buckets with about equally many rows each, position buckets of equal width.

    Where many rows were cut off at the greatest length, these are one bucket, and the shorter rows fill the others.
    """
    length_B = mask_BT.sum(dim=1).sort().values
    longest = int(length_B[-1])
    edges = quantiles(length_B, count)
    if len(edges) < count:
        shorter = length_B[length_B < longest]
        edges = {longest} | quantiles(shorter, min(count - 1, len(shorter) // MIN_ROWS))
    widths = {-(-longest * part // count) for part in range(1, count + 1)}
    return Buckets(tuple(sorted(edges)), tuple(sorted(widths)))


def quantiles(length_B: Tensor, count: int) -> set[int]:
    """The greatest length in each of ``count`` parts of the sorted lengths; fewer where parts share a length."""
    return {int(length_B[-(-len(length_B) * part // count) - 1]) for part in range(1, count + 1)}


def names_of(edges: Sequence[int]) -> list[str]:
    """``1-24 25-31 32-90``: the lengths or positions in each bucket."""
    starts = [1, *(edge + 1 for edge in edges[:-1])]
    return [f"{start}-{end}" for start, end in zip(starts, edges, strict=True)]


def measure(objective: Objective, logp_BT: Tensor, batch: TrainBatch, buckets: Buckets) -> tuple[list[dict], Tensor]:
    """Tidy rows about one objective on one batch, and its gradient d loss / d logp [B, T]."""
    loss, gradient_BT = loss_and_gradient(objective, logp_BT, batch)
    size_BT = gradient_BT.abs()
    trains_B = (gradient_BT != 0).any(dim=1)
    rows = [
        row("loss", loss.item()),
        row("gradient_norm_logp", gradient_BT.norm().item()),
        row("rollouts_that_train", trains_B.double().mean().item()),
        row("tokens_in_loss", batch.active_BT.sum().item() / batch.mask_BT.sum().item()),
        row("tokens_that_train", (gradient_BT != 0).sum().item() / batch.mask_BT.sum().item()),
    ]
    rows += clip_range(objective)
    metrics = step_metrics(objective, logp_BT, batch)
    rows += [row(name, metrics[key]) for key, name in METRICS.items() if key in metrics]
    for axis, index_BT, edges in (
        ("length", buckets.of_length(batch.mask_BT), buckets.length_edges),
        ("position", buckets.of_position(batch.mask_BT), buckets.position_edges),
    ):
        shares = shares_by_bucket(size_BT, index_BT, len(edges))
        tokens = shares_by_bucket(batch.mask_BT.double(), index_BT, len(edges))
        for name, share, token_share in zip(names_of(edges), shares, tokens, strict=True):
            rows += [row(f"mass_by_{axis}", share, name), row(f"tokens_by_{axis}", token_share, name)]
    return rows, gradient_BT


def clip_range(objective: Objective) -> list[dict[str, Any]]:
    """The bounds that a ratio can pass, under the kind of ratio that they bound."""
    kind = "sequence" if objective.is_per_sequence else "token"
    bounds = zip(("low", "high"), objective.clip_bounds, strict=True)
    return [row(f"clip_range_{kind}", bound, side) for side, bound in bounds if 0 < bound < math.inf]


def row(measure: str, value: float, bucket: str = "") -> dict[str, Any]:
    return {"measure": measure, "bucket": bucket, "value": float(value)}


def shares_by_bucket(value_BT: Tensor, index_BT: Tensor, count: int) -> list[float]:
    """Share of the total in each bucket; all 0 when there is nothing to share."""
    total = value_BT.sum().item()
    sums = [value_BT[index_BT == index].sum().item() for index in range(count)]
    return [part / total if total else 0.0 for part in sums]


def rollout_rows(gradient_BT: Tensor, batch: TrainBatch) -> Iterator[dict[str, Any]]:
    """Per rollout: its response length, advantage, and share of the gradient's mass."""
    mass_B = gradient_BT.abs().sum(dim=1)
    total = mass_B.sum().item()
    for index, length in enumerate(batch.mask_BT.sum(dim=1).tolist()):
        share = mass_B[index].item() / total if total else 0.0
        yield {"rollout": index, "length": length, "advantage": batch.advantage_B[index].item(), "mass": share}


def cosine(first: Tensor, second: Tensor) -> float:
    """Cosine of two gradients, in float64; nan when one of them is 0."""
    first, second = first.flatten().double(), second.flatten().double()
    norms = first.norm() * second.norm()
    return (first @ second / norms).item() if norms > 0 else float("nan")


def ratio_histograms(logp_BT: Tensor, batch: TrainBatch, num_bins: int) -> list[dict[str, Any]]:
    """Shares of tokens by r_it and of sequences by s_i; ``bucket`` is a bin's middle, the end bins are open."""
    log_BT = torch.where(batch.mask_BT, logp_BT - batch.old_logp_BT, 0.0).double()
    sequence_B = log_BT.sum(dim=1) / batch.mask_BT.sum(dim=1).clamp(min=1)
    rows = []
    for name, log in (("token_ratio", log_BT[batch.mask_BT]), ("sequence_ratio", sequence_B)):
        reach = min(max(log.abs().max().item(), 1e-6), WIDEST_LOG_RATIO)
        edges = torch.linspace(-reach, reach, num_bins + 1, dtype=torch.float64)
        index = torch.bucketize(log, edges[1:-1])
        shares = torch.bincount(index, minlength=num_bins).double() / len(log)
        middles = ((edges[1:] + edges[:-1]) / 2).exp()
        rows += [
            row(name, share, repr(middle)) for share, middle in zip(shares.tolist(), middles.tolist(), strict=True)
        ]
    return rows
