"""Files of a downloaded data set as rows, a few at a time. The home of ijson."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ablate.errors import UserError
from ablate.files.parquet import iterate_parquet

ROWS_PER_BATCH = 1  # one row of DeepCoder's lcbv5 decodes to 189 MB


def find_files(directory: Path, pattern: str) -> list[Path]:
    """Return the files of ``directory`` that match, by name.

    Raises:
        UserError: when there is none.
    """
    if not directory.is_dir():
        raise UserError(f"{directory} is not a directory: give the directory that you downloaded")
    files = sorted(path for path in directory.glob(pattern) if path.is_file())
    if not files:
        raise UserError(f"{directory} holds no {pattern}: give the directory of this data set, or download it again")
    return files


def parquet_rows(paths: Sequence[Path], columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the given columns of every row of several parquet files, in order; bytes that are no UTF-8 are surrogates.

    Raises:
        UserError: for a file that is truncated or lacks a column.
    """
    for path in paths:
        yield from iterate_parquet(path, columns, ROWS_PER_BATCH, escape=True)


def jsonl_rows(path: Path, required: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file with one JSON object per line; bytes that are no UTF-8 are lone surrogates.

    Raises:
        UserError: for a line that is cut off or is no object, or an object that lacks a required field.
    """
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.isspace():
                continue
            try:
                fields = json.loads(line.decode("utf-8-sig", "surrogateescape"))
            except (ValueError, RecursionError) as error:
                raise UserError(f"{path}, line {number} is not JSON ({error}): download the file again") from error
            yield checked_object(fields, required, f"{path}, line {number}")


def array_rows(path: Path, required: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file that is one JSON array, without holding the array.

    Raises:
        UserError: for a file that is cut off or is no array of objects.
    """
    import ijson

    number = 0
    try:
        with path.open("rb") as file:
            for number, fields in enumerate(ijson.items(file, "item", use_float=True), start=1):
                yield checked_object(fields, required, f"{path}, element {number}")
    except (ijson.JSONError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not JSON after element {number} ({error}): download the file again") from error


def checked_object(fields: Any, required: Sequence[str], where: str) -> dict[str, Any]:
    if not isinstance(fields, dict):
        raise UserError(f"{where} is a {type(fields).__name__}, not an object: it belongs to another data set")
    missing = [name for name in required if name not in fields]
    if missing:
        raise UserError(f"{where} has no field {', '.join(missing)}: it belongs to another data set")
    return fields
