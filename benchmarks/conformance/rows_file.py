"""Rows: one comparison each, read from rows/*.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent / "rows"
OF_SPLIT = "of_split"  # a knob whose value is the size of the split's micro-batches


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Example:
        ``Row(peer="areal", cell="ratio=sequence (GSPO)", keys="importance_sampling_level=sequence", ...,
        expected="different", why="...", same_as={"objective": "gspo_plus"})``.
    """

    peer: str
    cell: str  # of docs/objectives.md, "Keys of other trainers"
    keys: str  # in the words of the trainer
    compare: str  # advantage | loss
    ours: Mapping[str, Any]  # objective, and knobs
    call: Mapping[str, Any]  # for the adapter
    expected: str  # equal | factor | different | refused
    batches: str = "token"
    why: str = ""  # with file and line of the pinned version
    consequence: str = ""
    same_as: Mapping[str, Any] = field(default_factory=dict)  # knobs on top of ``ours`` that are the same as theirs
    old_logp: str = "old_logp"  # which log-probabilities ``same_as`` takes for those of the old policy


def read_rows(peer: str) -> list[Row]:
    return [Row(peer, **values) for values in yaml.safe_load((FOLDER / f"{peer}.yaml").read_text())]


def knobs_of(row: Row, split: list[list[int]] | None = None) -> dict[str, Any]:
    """Our objective and knobs that are the same as theirs; ``split`` fills in the size of its micro-batches."""
    knobs = {**row.ours, **row.same_as}
    size = len(split[0]) if split else None
    return {key: size if value == OF_SPLIT else value for key, value in knobs.items() if value is not None}
