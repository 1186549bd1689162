"""How far a layout is from one process in fp32, and how far it may be."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import cases
import torch
from layout_runs import largest_gap, largest_relative_gap

FP32_LIMITS = {  # those of tests/trainer/test_parity.py
    "log p, nats": 2e-5,
    "gradient": 1e-5,
    "weights": 1e-6,
    "resumed": 1e-6,
    "exported": 0.0,
}
TIMES_ONE_PROCESS = 2  # a layout in bf16 may be this many times as far from fp32 as one process in bf16 is


def fp32_gaps(alone: dict[str, Any], found: dict[str, Any], exported: dict[str, torch.Tensor]) -> dict[str, float]:
    """Largest gaps: log-probability, gradient (relative), weights after two updates and after resuming, export."""
    gaps = {"log p, nats": max((found[name] - alone[name]).abs().max().item() for name in ("logp", "yarn_logp"))}
    pairs = [(alone[name], found[name]) for name in cases.OBJECTIVES]
    if "gradients" in found["grpo"]:
        gaps["gradient"] = max(largest_relative_gap(a["gradients"], b["gradients"]) for a, b in pairs)
    gaps["weights"] = max(largest_gap(a["weights"], b["weights"]) for a, b in pairs)
    next_weights = alone["resumed"]["next_weights"]
    gaps["resumed"] = max(largest_gap(next_weights, found[kind]["next_weights"]) for kind in ("resumed", "resumed_own"))
    gaps["exported"] = largest_gap(exported, found["resumed_own"]["weights"])
    return gaps


def bf16_gaps(alone: dict[str, Any], found: dict[str, Any]) -> dict[str, float]:
    """Mean gap of a log-probability to fp32, and of the gradients (one vector) relative to its length."""
    is_response = alone["logp"] != 0
    gaps = {"log p, nats": (found["logp"] - alone["logp"]).abs()[is_response].mean().item()}
    if "gradients" in found["grpo"]:
        gaps["gradient"] = max(
            (flat(found[name]["gradients"]) - flat(alone[name]["gradients"])).norm().item()
            / flat(alone[name]["gradients"]).norm().item()
            for name in cases.OBJECTIVES
        )
    return gaps


def flat(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([tensors[name].float().flatten() for name in sorted(tensors)])


def row(name: str, size: int, gaps: dict[str, float], limits: dict[str, float], agree: bool) -> tuple[str, bool]:
    """A line of the table, and whether every gap is within its limit."""
    cells = [f"{gaps[column]:.1e}" if column in gaps else "-" for column in FP32_LIMITS]
    is_within = agree and all(gap <= limits[column] for column, gap in gaps.items())
    words = [name, str(size), *cells, "agree" if agree else "differ", "" if is_within else "**beyond the limit**"]
    return "| " + " | ".join(words) + " |", is_within


def header() -> str:
    columns = ["layout", "processes", *FP32_LIMITS, "collectives", ""]
    return "| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|"


def times(gaps: dict[str, float], factor: float) -> dict[str, float]:
    return {name: gap * factor for name, gap in gaps.items()}


def all_within(results: Iterable[tuple[str, bool]]) -> bool:
    """Print each line as it comes; return whether all were within their limits."""
    is_well = True
    for line, is_within in results:
        print(line, flush=True)
        is_well = is_well and is_within
    return is_well
