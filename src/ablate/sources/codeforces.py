"""open-r1/codeforces, config ``verifiable``: Codeforces problems with official tests and Python checkers.

Where the site cut official tests off (``official_tests_complete`` is false), the data set's own tests of the contest
are added, if ``generated_tests/`` was downloaded as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from ablate.errors import UserError
from ablate.sources.base import RawRow, Row, make_row
from ablate.sources.cases import stdin_tests
from ablate.sources.directory import find_files, parquet_rows
from ablate.sources.reasons import Reason, Refused, shown
from ablate.types import Checker

CONFIGS = {"verifiable": "verifiable/train-*.parquet", "verifiable_test": "verifiable/test-*.parquet"}
COLUMNS = (
    *("id", "contest_id", "contest_start", "title", "description", "input_format", "output_format"),
    *("interaction_format", "note", "examples", "rating", "tags", "time_limit", "memory_limit", "executable"),
    *("official_tests", "official_tests_complete", "input_mode", "generated_checker"),
)
GENERATED = "generated_tests/test_cases_{contest:04d}.parquet"
MODES = {"stdio": "stdin", "file": "file"}
FILE_MODE = "\n\nRead the input from the file input.txt and write the output to the file output.txt."


class Codeforces:
    name = "codeforces"
    is_complete = False

    def records(self, directory: Path, config: str) -> Iterator[dict[str, Any]]:
        if config not in CONFIGS:
            raise UserError(f"codeforces has no config {config}: use {', '.join(CONFIGS)}")
        for columns in parquet_rows(find_files(directory, CONFIGS[config]), COLUMNS):
            yield columns | {"generated_tests": () if is_whole(columns) else generated_tests(directory, columns)}

    def decode(self, raw: RawRow) -> Row:
        if raw.optional_text("interaction_format"):
            raise Refused(Reason.interactive)
        mode = MODES.get(raw.optional_text("input_mode") or "stdio")
        if mode is None:
            raise Refused(Reason.unknown_kind, f"input_mode is {shown(raw.fields['input_mode'])}")
        examples = pairs_of(raw.fields.get("examples"))
        tests = pairs_of(raw.fields.get("official_tests"))
        generated = pairs_of(raw.fields["generated_tests"])
        if not tests and not generated:
            raise Refused(Reason.no_tests)
        cases = list(dict.fromkeys(stdin_tests([*examples, *tests, *generated])))
        checker = raw.optional_text("generated_checker")
        return make_row(
            raw,
            id=f"codeforces/{raw.text('id')}",
            statement=statement_of(raw, examples) + (FILE_MODE if mode == "file" else ""),
            kind=mode,
            tests=tuple(cases),
            checker=None if checker is None else Checker("python", (("checker.py", checker),)),
            time_limit_s=positive(raw, "time_limit"),
            memory_limit_mib=int(positive(raw, "memory_limit") or 0) or None,
            platform="codeforces",
            date=day_of(raw.fields.get("contest_start")),
            rating=int(positive(raw, "rating") or 0) or None,
            difficulty=difficulty_of(positive(raw, "rating")),
            tags=tuple(raw.fields.get("tags") or ()),
            title=raw.optional_text("title"),
            num_examples=len(set(stdin_tests(examples))),
            notes=() if is_whole(raw.fields) or generated else ("official_tests_cut_off",),
        )


def is_whole(columns: dict[str, Any]) -> bool:
    return bool(columns.get("official_tests_complete"))


def generated_tests(directory: Path, columns: dict[str, Any]) -> list[dict[str, str]]:
    contest = str(columns.get("contest_id") or "")
    path = directory / GENERATED.format(contest=int(contest)) if contest.isdigit() else directory / "none"
    return tests_of_contest(path).get(columns.get("id"), []) if path.is_file() else []


@lru_cache(1)
def tests_of_contest(path: Path) -> dict[str, list[dict[str, str]]]:
    """The generated tests of one contest, by problem."""
    found: dict[str, list[dict[str, str]]] = {}
    for row in parquet_rows([path], ("problem_id", "input", "output")):
        found.setdefault(row["problem_id"], []).append({"input": row["input"], "output": row["output"]})
    return found


def pairs_of(tests: Any) -> list[tuple[Any, Any]]:
    """Inputs and outputs of a column of tests; null is none."""
    if not all(isinstance(test, dict) for test in tests or ()):
        raise Refused(Reason.bad_shape, "tests must be objects")
    return [(test.get("input"), test.get("output")) for test in tests or ()]


def statement_of(raw: RawRow, examples: list[tuple[Any, Any]]) -> str:
    """The statement in one text, with its sections and examples as other data sets lay them out."""
    parts = [raw.text("description").strip()]
    for heading, name in (("Input", "input_format"), ("Output", "output_format")):
        if text := raw.optional_text(name):
            parts.append(f"-----{heading}-----\n\n{text}")
    shown_examples = [f"Input\n{given.strip()}\n\nOutput\n{expected.strip()}" for given, expected in examples]
    if shown_examples:
        parts.append("\n\n".join(["-----Examples-----", *shown_examples]))
    if note := raw.optional_text("note"):
        parts.append(f"-----Note-----\n\n{note}")
    return "\n\n".join(parts).replace("$$$", "$")


def positive(raw: RawRow, name: str) -> float | None:
    value = raw.fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise Refused(Reason.bad_column, f"{name} is {shown(value)}")
    return float(value) or None


def difficulty_of(rating: float | None) -> str | None:
    """Four classes by the site's rating, as many as other sets have."""
    if rating is None:
        return None
    return "easy" if rating < 1200 else "medium" if rating < 1900 else "hard" if rating < 2400 else "very_hard"


def day_of(seconds: Any) -> str | None:
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        return None
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()
