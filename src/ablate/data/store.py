"""A problem store: a directory for problem sets whose tests do not fit in memory.

``problems.parquet`` holds everything but tests, one row per problem; ``tests.bin`` holds the compressed tests one after
the other, and each row says where its own lie. The tests have a file without a format of its own because the process
that reads them, the supervisor of a sandbox, imports nothing that has to be installed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from ablate.errors import UserError
from ablate.files.parquet import iterate_parquet, write_row_groups
from ablate.files.stored_tests import PackedTests, StoredTests
from ablate.types import Checker, Problem

PROBLEMS_FILE = "problems.parquet"
TESTS_FILE = "tests.bin"
ROW_GROUP = 256  # problems; small, so that no process needs the memory of all statements at once
FIELD_TYPES = {
    **{"float_tolerance": float, "time_limit_s": float, "memory_limit_mib": int},
    **{"rating": int, "num_examples": int},
}
PROBLEM_COLUMNS = {field.name: FIELD_TYPES.get(field.name, str) for field in fields(Problem) if field.name != "tests"}
LATER = ("checker", "rating", "tags", "num_examples")  # stores from before these columns are read without them
TESTS_COLUMNS = {"num_tests": int, "num_bytes": int, "offset": int, "size": int, "digest": str}


def write_store(directory: Path, problems: Iterable[tuple[Problem, PackedTests]]) -> None:
    """Write a store into an existing directory; holds the tests of one problem at a time.

    Args:
        problems: each problem with its packed tests; the ``tests`` of the problem itself are not looked at.
    """
    with (directory / TESTS_FILE).open("wb") as file:

        def rows() -> Iterator[dict[str, Any]]:
            for problem, packed in problems:
                place = {"offset": file.tell(), "size": len(packed.blob), "digest": packed.digest}
                file.write(packed.blob)
                counts = {"num_tests": packed.num_tests, "num_bytes": packed.num_bytes}
                values = {name: getattr(problem, name) for name in PROBLEM_COLUMNS}
                if problem.checker is not None:
                    values["checker"] = problem.checker.to_json()
                yield values | counts | place

        write_row_groups(directory / PROBLEMS_FILE, rows(), PROBLEM_COLUMNS | TESTS_COLUMNS, ROW_GROUP)


def read_store(directory: Path) -> Iterator[Problem]:
    """Yield the problems of a store in order; their tests are ``StoredTests``, which stay on disk.

    Raises:
        UserError: for a damaged store.
    """
    for row in stored_rows(directory):
        yield problem_of_row(directory, row)


def stored_rows(directory: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of ``problems.parquet``: the fields of a problem, and what is known of its tests.

    Raises:
        UserError: for a damaged store, also where ``tests.bin`` ends too early.
    """
    tests = directory / TESTS_FILE
    if not tests.is_file():
        raise UserError(f"{directory} has no {TESTS_FILE}: copy the whole problem store, or make it again")
    num_bytes = tests.stat().st_size
    columns = [*PROBLEM_COLUMNS, *TESTS_COLUMNS]
    for row in iterate_parquet(directory / PROBLEMS_FILE, columns, ROW_GROUP, optional=LATER):
        if row["offset"] + row["size"] > num_bytes:
            raise UserError(
                f"{tests} ends at byte {num_bytes}, before the tests of problem {row['id']}: copy the store again"
            )
        yield row


def problem_of_row(directory: Path, row: dict[str, Any]) -> Problem:
    place = StoredTests(str(directory / TESTS_FILE), row["offset"], row["size"], row["num_tests"], row["digest"])
    values = {name: row.get(name) for name in PROBLEM_COLUMNS}
    if values["checker"] is not None:
        values["checker"] = Checker.from_json(values["checker"])
    return Problem(**values, tests=place)
