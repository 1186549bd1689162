"""Which rows of a step's rollouts belong to one group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def cut_into_groups(rows: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Cut rows where the problem changes, or where the sample number goes back: the same problem was drawn again."""
    groups: list[list[Mapping[str, Any]]] = []
    for row in rows:
        last = groups[-1][-1] if groups else None
        if last is not None and last["problem_id"] == row["problem_id"] and last["sample"] < row["sample"]:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups
