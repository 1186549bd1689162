"""Per-token values that ``ablate.laboratory tokens=true`` left in a run, as side files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.records.token_values import TokenFile, token_files
from ablate_analysis.load import Run
from ablate_analysis.pages.payload import write_side_file

CHUNK_TOKENS = 50_000


@dataclass(frozen=True)
class TokenFiles:
    """Where the values of one step under one checkpoint are: ``path/NUMBER``, and the number by rollout."""

    checkpoint: int
    path: str
    chunk: dict[int, int]


def write_tokens(run: Run, folder: Path) -> dict[int, list[TokenFiles]]:
    """Write the side files below ``folder``; return them by step, checkpoints in order. Holds one chunk in memory."""
    by_step: dict[int, list[TokenFiles]] = {}
    for file in token_files(run.directory.path):
        files = TokenFiles(file.checkpoint, f"tokens/{file.path.stem}", {})
        names = file.objectives
        for number, rows in enumerate(chunks_of(file)):
            write_side_file(folder, f"{files.path}/{number}", {row["rollout"]: values_of(row, names) for row in rows})
            files.chunk.update({row["rollout"]: number for row in rows})
        by_step.setdefault(file.step, []).append(files)
    return by_step


def chunks_of(file: TokenFile) -> Iterator[list[dict[str, Any]]]:
    """The rows of a file, about ``CHUNK_TOKENS`` tokens at a time."""
    chunk, filled = [], 0
    for row in file.rows():
        if chunk and filled + len(row["tokens"]) > CHUNK_TOKENS:
            yield chunk
            chunk, filled = [], 0
        chunk.append(row)
        filled += len(row["tokens"])
    if chunk:
        yield chunk


def values_of(row: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """One rollout as the page reads it; three digits are more than a colour shows."""
    return {
        "texts": row["tokens"],
        "token_log_ratio": differences(row["logp"], row["old_logp"]),
        "mismatch": differences(row["old_logp"], row["rollout_logp"]),
        "objectives": {
            name: {
                "share": rounded(row[f"{name}/share"]),
                "clip": row[f"{name}/clip"],
                "log_ratio": rounded(row[f"{name}/log_ratio"]),
            }
            for name in names
        },
    }


def differences(left: Sequence[float], right: Sequence[float]) -> list[float]:
    return rounded([a - b for a, b in zip(left, right, strict=True)])


def rounded(values: Sequence[float]) -> list[float]:
    return [float(f"{value:.3g}") if math.isfinite(value) else 0.0 for value in values]
