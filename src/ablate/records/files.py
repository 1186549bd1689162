"""Parquet files as rows. The home of pyarrow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ablate.errors import UserError
from ablate.files import scratch_path


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows (dicts with equal keys) in one step."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = scratch_path(path)
    pq.write_table(pa.Table.from_pylist(list(rows)), scratch)
    scratch.replace(path)


def read_parquet(path: Path) -> list[dict[str, Any]]:
    """Read rows back as dicts.

    Raises:
        UserError: if the file is not readable as parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path).to_pylist()
    except pa.ArrowInvalid as error:
        raise UserError(f"{path} is not a readable parquet file ({error}): remove it and run the step again") from error
