"""Runs that were verified on cores of another speed: the same limit of CPU time is another limit there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

AS_FAST = 1.25  # a busy machine makes as much of a difference


def speed_sentences(manifests: Mapping[str, Mapping[str, Any]], scales: Mapping[str, object]) -> list[str]:
    """Name the runs that were verified on much slower cores than the fastest run, with limits as configured.

    Args:
        manifests: of each run, by its name.
        scales: ``verify.time_scale`` of each run.
    """
    seconds = {name: slowest_s(manifest.get("attempts", ())) for name, manifest in manifests.items()}
    known = {name: value for name, value in seconds.items() if value is not None and scales.get(name) != "auto"}
    fastest_s = min(known.values(), default=0.0)
    slow = {name: value / fastest_s for name, value in known.items() if value > AS_FAST * fastest_s}
    if not slow:
        return []
    listed = ", ".join(f"{name} ({ratio:.1f} times slower)" for name, ratio in sorted(slow.items()))
    return [
        f"These runs were verified on slower cores than others, under the same limits of CPU time: {listed}. Right "
        "programs may have exceeded the limits there; verify.time_scale=auto scales them."
    ]


def slowest_s(attempts: Sequence[Mapping[str, Any]]) -> float | None:
    measured = [attempt.get("verify_speed_s") for attempt in attempts]
    return max((value for value in measured if isinstance(value, int | float)), default=None)
