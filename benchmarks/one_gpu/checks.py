"""The checks: each returns what it found, or raises. See docs/cluster.md for what each of them answers."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

HOMES = {
    "imports": "compute",
    "forms": "compute",
    "large": "compute",
    "packings": "compute",
    "projection": "compute",
    "checkpoints": "state",
    "kills": "state",
    "ipc": "transfer",
    "nccl": "transfer",
    "hand_off": "transfer",
}


class Checks(dict[str, Callable[[], dict[str, Any]]]):
    """By name; a check's module is imported when it runs, because importing is a check too."""

    def __missing__(self, name: str) -> Callable[[], dict[str, Any]]:
        return getattr(importlib.import_module(f"benchmarks.one_gpu.{HOMES[name]}"), name)


CHECKS = Checks()
