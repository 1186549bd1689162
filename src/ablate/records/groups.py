"""Which rows of a step's rollouts belong to one group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any


def cut_into_groups(rows: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Cut rows where the number of the group changes."""
    return [list(group) for _, group in groupby(rows, itemgetter("group"))]
