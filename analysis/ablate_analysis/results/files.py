"""Reading JSON, JSON lines and CSV of other projects, with the place in every complaint."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from ablate.errors import UserError


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number from 1, object) of a file with a JSON object a line; holds one line in memory.

    Raises:
        UserError: for a line that is no JSON object. A last line that was cut off is named like any other.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise UserError(
                    f"{path}:{number} is not JSON ({error}): remove the line or write the file again"
                ) from None
            if not isinstance(row, dict):
                raise UserError(f"{path}:{number} holds {type(row).__name__} and not an object: is it another file?")
            yield number, row


def first_line(path: Path) -> dict[str, Any]:
    """The first object of a file of JSON lines; empty if it has none."""
    try:
        return next(json_lines(path), (0, {}))[1]
    except (UserError, UnicodeDecodeError):
        return {}


@lru_cache(maxsize=1)
def whole_json(path: Path) -> Any:
    """The content of a JSON file; the last one is kept, because several readers look at it.

    Raises:
        UserError: if it is not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}): is it complete?") from None


def csv_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, row) of a CSV file with a header.

    Raises:
        UserError: for a row with more or fewer cells than the header.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        for row in reader:
            if None in row or None in row.values():
                raise UserError(
                    f"{path}:{reader.line_num} has another number of cells than the header: repair the line"
                )
            yield reader.line_num, row


def newest(paths: list[Path]) -> Path:
    return max(paths, key=lambda path: (path.stat().st_mtime, path.name))
