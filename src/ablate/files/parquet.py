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
        facts: facts about all rows, as JSON in the file's metadata; ``read_facts`` reads it.
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


def iterate_parquet(
    path: Path, columns: Sequence[str], batch_size: int, escape: bool = False, optional: Sequence[str] = ()
) -> Iterator[dict[str, Any]]:
    """Yield the given columns of every row in order; holds ``batch_size`` rows and their pages in memory.

    Args:
        optional: columns that a file may lack.
        escape: read bytes that are no UTF-8 as lone surrogates, for a reader that refuses such a row by name.

    Raises:
        UserError: if the file is not readable as parquet, or lacks a column, or has text that is not UTF-8.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Without a buffer, a whole column of a row group is read at once; pre-buffering keeps every row group.
        with pq.ParquetFile(path, buffer_size=READ_BYTES, pre_buffer=False) as file:
            columns = [name for name in columns if name in file.schema_arrow.names or name not in optional]
            missing = [name for name in columns if name not in file.schema_arrow.names]
            if missing:
                raise UserError(f"{path} has no column {missing[0]}: it is not the file that was expected here")
            number = 0
            for batch in file.iter_batches(batch_size, columns=list(columns), use_threads=False):
                yield from python_rows(batch, path, number, escape)
                number += len(batch)
    except (pa.ArrowInvalid, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is damaged or is no parquet file ({reason}): download or make it again") from error


def python_rows(batch: Any, path: Path, first: int, escape: bool) -> list[dict[str, Any]]:
    """The rows of a batch, the first of which is row ``first`` of the file; for the rest see ``iterate_parquet``."""
    try:
        return batch.to_pylist()
    except UnicodeDecodeError as error:
        if not escape:
            raise UserError(
                f"{path}, row {first} or after: text is not UTF-8 ({error}): make the file again"
            ) from error
    columns = {name: escaped(as_bytes(batch.column(name)).to_pylist()) for name in batch.schema.names}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def as_bytes(array: Any) -> Any:
    """The array with binary values where it has text, at any depth."""
    import pyarrow as pa

    def binary(kind: Any) -> Any:
        if pa.types.is_string(kind):
            return pa.binary()
        if pa.types.is_large_string(kind):
            return pa.large_binary()
        if pa.types.is_list(kind):
            return pa.list_(binary(kind.value_type))
        if pa.types.is_struct(kind):
            return pa.struct([(field.name, binary(field.type)) for field in kind])
        return kind

    return array.cast(binary(array.type))


def escaped(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, list):
        return [escaped(each) for each in value]
    if isinstance(value, dict):
        return {name: escaped(each) for name, each in value.items()}
    return value
