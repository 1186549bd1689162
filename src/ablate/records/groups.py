"""Which rows of a step's rollouts belong to one group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def cut_into_groups(rows: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Cut rows where the number of the group changes.

    Rows of older records have no such number. They are cut where the problem changes, or where the sample number goes
    back; a problem that was drawn twice in a row then looks like one group.
    """
    groups: list[list[Mapping[str, Any]]] = []
    for row in rows:
        if groups and are_of_one_group(groups[-1][-1], row):
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def are_of_one_group(row: Mapping[str, Any], following: Mapping[str, Any]) -> bool:
    if "group" in row:
        return row["group"] == following["group"]
    return row["problem_id"] == following["problem_id"] and row["sample"] < following["sample"]
