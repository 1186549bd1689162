"""Parquet files as rows. The home of pyarrow."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from ablate.errors import UserError
from ablate.files import replacing

Result = TypeVar("Result")

READ_BYTES = 1 << 20
FACTS_KEY = b"ablate"


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]], facts: Mapping[str, Any] | None = None) -> None:
    """Write rows (dicts with equal keys) in one step.

    Args:
        facts: what is said about all rows, as JSON in the file's metadata; ``read_facts`` reads it.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(list(rows))
    if facts is not None:
        table = table.replace_schema_metadata({FACTS_KEY: json.dumps(facts)})
    with replacing(path) as scratch:
        pq.write_table(table, scratch)


def read_parquet(path: Path) -> list[dict[str, Any]]:
    """Read rows back as dicts.

    Raises:
        UserError: if the file is not readable as parquet.
    """
    return opened(path, lambda file: file.read().to_pylist())


def column_names(path: Path) -> list[str]:
    """The columns of a file, in order; raises as ``read_parquet`` does."""
    return opened(path, lambda file: list(file.schema_arrow.names))


def read_columns(path: Path, columns: Sequence[str], lengths: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Read rows with those of the given columns that the file has; raises as ``read_parquet`` does.

    Args:
        lengths: list columns that are read as their number of elements, under the name ``num_<column>``.
    """
    import pyarrow.compute as pc

    def read(file: Any) -> Any:
        names = file.schema_arrow.names
        table = file.read(columns=[name for name in columns if name in names])
        for name in lengths:
            counts = pc.list_value_length(file.read(columns=[name]).column(0))
            table = table.append_column(f"num_{name}", counts)
        return table.to_pylist()

    return opened(path, read)


def opened(path: Path, read: Callable[[Any], Result]) -> Result:
    """Apply ``read`` to the open file.

    Raises:
        UserError: if the file is not readable as parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            return read(file)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the file is not there, or may not be read
            raise
        raise UserError(
            f"{path} is not a readable parquet file ({error}): restore it from a copy, or make it again"
        ) from error


def read_facts(path: Path) -> dict[str, Any]:
    """Return what ``write_parquet`` was told about the rows of a readable file; empty where it was told nothing."""
    import pyarrow.parquet as pq

    return json.loads((pq.read_schema(path).metadata or {}).get(FACTS_KEY, b"{}"))


def write_parts(path: Path, parts: Iterable[Sequence[Mapping[str, Any]]]) -> None:
    """Write parts of rows (dicts with equal keys) in one step; holds one part in memory."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    tables = (pa.Table.from_pylist(list(part)) for part in parts)
    first = next(tables)
    with replacing(path) as scratch, pq.ParquetWriter(scratch, first.schema) as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table.cast(first.schema))


def write_row_groups(
    path: Path, rows: Iterable[Mapping[str, Any]], columns: Mapping[str, type], group_size: int
) -> None:
    """Write a large file in one step, in groups of ``group_size`` rows; holds one group in memory.

    Args:
        columns: the columns in order, each ``str``, ``int`` or ``float``; every value may be null.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    schema = pa.schema([(name, kinds[kind]) for name, kind in columns.items()])
    remaining = iter(rows)
    with replacing(path) as scratch, pq.ParquetWriter(scratch, schema) as writer:
        while group := list(islice(remaining, group_size)):
            writer.write_table(pa.Table.from_pylist(group, schema))


def iterate_parquet(path: Path, columns: Sequence[str], batch_size: int) -> Iterator[dict[str, Any]]:
    """Yield the given columns of every row in order; holds ``batch_size`` rows and their pages in memory.

    Raises:
        UserError: if the file is not readable as parquet, or lacks a column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Without a buffer, a whole column of a row group is read at once; pre-buffering keeps every row group.
        with pq.ParquetFile(path, buffer_size=READ_BYTES, pre_buffer=False) as file:
            missing = [name for name in columns if name not in file.schema_arrow.names]
            if missing:
                raise UserError(f"{path} has no column {missing[0]}: it is not the file that was expected here")
            for batch in file.iter_batches(batch_size, columns=list(columns), use_threads=False):
                yield from batch.to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is damaged or is no parquet file ({reason}): download or make it again") from error
