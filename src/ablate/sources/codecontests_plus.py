"""ByteDance-Seed/Code-Contests-Plus, config ``1x``: 11,690 problems, each with tests and a testlib checker in C++.

Its columns are those that public readers of it use. The checkers need ``testlib.h``, which the set does not hold: put
the one of MikeMirzayanov/testlib into the directory. The unit of ``memory_limit`` is not documented; it is not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ablate.errors import UserError
from ablate.sources.base import RawRow, Row, make_row
from ablate.sources.cases import stdin_tests
from ablate.sources.codeforces import pairs_of, positive
from ablate.sources.directory import find_files, parquet_rows
from ablate.sources.reasons import Reason, Refused
from ablate.types import Checker

COLUMNS = ("source", "id", "title", "description", "time_limit", "checker", "test_cases", "correct_submissions",
           "incorrect_submissions")  # fmt: skip
HEADER = "testlib.h"
PYTHON = "py3"
NUM_WRONG = 3  # of hundreds: each is run on all tests


class CodeContestsPlus:
    name = "codecontests_plus"
    is_complete = False

    def records(self, directory: Path, config: str) -> Iterator[dict[str, Any]]:
        if config != "1x":
            raise UserError(f"codecontests_plus has no config {config}: use 1x")
        files = find_files(directory, "ccplus_1x/*.parquet")
        header = directory / HEADER
        if not header.is_file():
            raise UserError(
                f"{directory} holds no {HEADER}, which the checkers include: take it from testlib's repository"
            )
        text = header.read_text(encoding="utf-8", errors="replace")
        for columns in parquet_rows(files, COLUMNS):
            yield columns | {HEADER: text}

    def decode(self, raw: RawRow) -> Row:
        tests = pairs_of(raw.fields.get("test_cases"))
        if not tests:
            raise Refused(Reason.no_tests)
        checker = raw.optional_text("checker")
        files = (("checker.cpp", checker), (HEADER, raw.text(HEADER))) if checker else ()
        limit_ms = positive(raw, "time_limit")
        return make_row(
            raw,
            id=f"codecontests_plus/{raw.text('source')}/{raw.text('id')}",
            statement=raw.text("description").replace("$$$", "$"),
            kind="stdin",
            tests=tuple(dict.fromkeys(stdin_tests(tests))),
            checker=Checker("testlib", files) if checker else None,
            references=python_of(raw.fields.get("correct_submissions")),
            wrong=python_of(raw.fields.get("incorrect_submissions"))[:NUM_WRONG],
            time_limit_s=limit_ms and limit_ms / 1000,
            title=raw.optional_text("title"),
            platform=raw.text("source").lower(),
        )


def python_of(submissions: Any) -> tuple[str, ...]:
    """The submissions in Python 3, in their order."""
    if not all(isinstance(each, dict) for each in submissions or ()):
        raise Refused(Reason.bad_shape, "submissions must be objects")
    return tuple(str(each["code"]) for each in submissions or () if each.get("language") == PYTHON and each.get("code"))
