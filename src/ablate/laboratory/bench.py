"""One recorded batch through every objective and toggle, at one checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ablate.laboratory import AS_CONFIGURED, measures
from ablate.laboratory.length import EXPECTED_LENGTH, length_batch
from ablate.laboratory.measures import Buckets, row
from ablate.objectives import Objective
from ablate.objectives.laws.step import loss_and_gradient
from ablate.types import TrainBatch

if TYPE_CHECKING:
    from ablate.trainer.trainer import Trainer


@dataclass(frozen=True)
class LaboratoryConfig:
    """conf/laboratory.yaml: the resolution, and whether to compute parameter gradients."""

    num_buckets: int
    num_bins: int
    parameter_space: bool
    tokens: bool  # also write what each objective does with each token


@dataclass(frozen=True)
class Results:
    """Tidy rows, one row per rollout and objective as configured, and the tensors behind them."""

    rows: list[dict[str, Any]]
    rollouts: list[dict[str, Any]]
    logp_BT: Tensor  # nats, at the policy's weights
    gradients: Mapping[str, Tensor]  # d loss / d logp [B, T] of each objective as configured


BatchFor = Callable[[Objective], TrainBatch]
Variants = Mapping[str, Mapping[str, Objective]]  # objective -> toggle -> the objective under that toggle


def examine(policy: Trainer, batch_for: BatchFor, variants: Variants, settings: LaboratoryConfig) -> Results:
    """Measure every variant on the same rollouts as one update, at the policy's present weights.

    Args:
        batch_for: the rollouts as a batch, with an objective's advantages and weights; all batches have the same rows.
    """
    first = next(iter(next(iter(variants.values())).values()))
    plain = batch_for(first)
    logp_BT, _ = policy.logp(plain)
    needs_reference = any(variant.needs_reference for toggles in variants.values() for variant in toggles.values())
    ref_logp_BT = policy.reference_logp(plain) if needs_reference else None
    buckets = measures.cut_buckets(plain.mask_BT, settings.num_buckets)
    rows = [labelled(entry, "", "") for entry in measures.ratio_histograms(logp_BT, plain, settings.num_bins)]
    about_length = length_batch(plain)
    _, longer_BT = loss_and_gradient(EXPECTED_LENGTH, logp_BT, about_length)
    longer = policy.gradient(about_length, EXPECTED_LENGTH) if settings.parameter_space else None
    rollouts: list[dict[str, Any]] = []
    in_logp, in_parameters = {}, {}
    for name, toggles in variants.items():
        for toggle, objective in toggles.items():
            batch = replace(batch_for(objective), ref_logp_BT=ref_logp_BT)
            found, gradient_BT = measures.measure(objective, logp_BT, batch, buckets)
            found.append(row("length_cosine_logp", measures.cosine(gradient_BT, longer_BT)))
            flat = policy.gradient(batch, objective) if settings.parameter_space else None
            if toggle == AS_CONFIGURED:
                in_logp[name] = gradient_BT
                rollouts += [{"objective": name} | entry for entry in measures.rollout_rows(gradient_BT, batch)]
                if flat is not None:
                    in_parameters[name] = flat
                    found += parameter_mass(policy, objective, batch, buckets, flat)
            else:
                found.append(row("cosine_logp", measures.cosine(gradient_BT, in_logp[name]), AS_CONFIGURED))
            if flat is not None:
                found.append(row("gradient_norm_parameters", flat.norm().item()))
                found.append(row("length_cosine_parameters", measures.cosine(flat, longer)))
                if toggle != AS_CONFIGURED:
                    found.append(row("cosine_parameters", measures.cosine(flat, in_parameters[name]), AS_CONFIGURED))
            rows += [labelled(entry, name, toggle) for entry in found]
    rows += pairwise("cosine_logp", in_logp) + pairwise("cosine_parameters", in_parameters)
    return Results(rows, rollouts, logp_BT, in_logp)


def labelled(entry: dict[str, Any], objective: str, toggle: str) -> dict[str, Any]:
    return {"objective": objective, "toggle": toggle} | entry


def parameter_mass(
    policy: Trainer, objective: Objective, batch: TrainBatch, buckets: Buckets, whole: Tensor
) -> list[dict[str, Any]]:
    """Share of each length bucket in the parameter gradient g: <g of the bucket's rows, g> / <g, g>; they sum to 1."""
    index_BT = buckets.of_length(batch.mask_BT)
    square = (whole.double() @ whole.double()).item()
    rows = []
    for index, name in enumerate(measures.names_of(buckets.length_edges)):
        bucket = replace(batch, weight_BT=torch.where(index_BT == index, batch.weight_BT, 0.0))
        share = (policy.gradient(bucket, objective).double() @ whole.double()).item() / square if square else 0.0
        rows.append(row("parameter_mass_by_length", share, name))
    return rows


def pairwise(measure: str, gradients: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    """Cosine of every pair of objectives as configured. Both orders are listed, so that a heat map is a pivot."""
    rows = []
    for first, second in combinations(gradients, 2):
        value = measures.cosine(gradients[first], gradients[second])
        rows += [labelled(row(measure, value, b), a, AS_CONFIGURED) for a, b in ((first, second), (second, first))]
    return rows
