"""livecodebench/code_generation_lite: the evaluation set, release v1 to v6, from its jsonl files.

Its loader script is refused by ``datasets`` 4, and unpickles what it downloads. This one reads the files and runs
nothing. A row that cannot be decoded is an error: a benchmark with a row less is another benchmark.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

from ablate.errors import UserError
from ablate.sources.base import RawRow, Row, make_row
from ablate.sources.cases import encoded_function_tests, function_name, stub
from ablate.sources.directory import find_files, jsonl_rows
from ablate.sources.literals import check_unicode, parse_json
from ablate.sources.payload import decode_tests
from ablate.sources.primeintellect import objects, one_kind
from ablate.sources.reasons import Reason, Refused, shown
from ablate.types import TestCase

# The config v3 is what release v3 adds to release v2. A file is no window of dates: test5 ends on the day on which
# test6 begins.
FILES = {
    "v1": "test.jsonl",
    "v2": "test2.jsonl",
    "v3": "test3.jsonl",
    "v4": "test4.jsonl",
    "v5": "test5.jsonl",
    "v6": "test6.jsonl",
}
FIELDS = (
    *("question_title", "question_content", "platform", "question_id", "contest_date", "starter_code", "difficulty"),
    *("public_test_cases", "private_test_cases", "metadata"),
)


class LiveCodeBench:
    name = "livecodebench"
    is_complete = True

    def records(self, directory: Path, config: str) -> Iterator[dict[str, Any]]:
        if config not in FILES:
            raise UserError(f"livecodebench has no config {config}: use {', '.join(FILES)}")
        for path in find_files(directory, FILES[config]):
            yield from jsonl_rows(path, FIELDS)

    def decode(self, raw: RawRow) -> Row:
        private = decode_tests(raw.text("private_test_cases"))
        tests = decode_tests(raw.text("public_test_cases"))
        if not isinstance(private, list) or not isinstance(tests, list):
            raise Refused(Reason.bad_shape, "tests must be lists")
        tests = tests + private
        kind = one_kind(tests, "testtype", {"stdin", "functional"})
        metadata = parse_json(raw.text("metadata"))
        name = metadata.get("func_name") if isinstance(metadata, dict) else None
        if (name is not None) != (kind == "functional"):
            raise Refused(Reason.mixed_kinds, f"{kind} tests, but metadata names the function {shown(name)}")
        functional = kind == "functional"
        cases = encoded_function_tests(texts(tests)) if functional else program_tests(tests)
        return make_row(
            raw,
            id=raw.text("question_id"),
            statement=raw.text("question_content"),
            kind=kind,
            fn_name=function_name(name) if functional else None,
            starter_code=(raw.text("starter_code") or stub(name, cases)) if functional else None,
            tests=cases,
            split="test",
            platform=raw.text("platform"),
            date=day(raw.text("contest_date")),
            difficulty=raw.text("difficulty"),
            title=raw.text("question_title"),
            notes=() if private else ("no_private_tests",),
        )


def texts(tests: Any) -> list[tuple[Any, Any]]:
    return [(test.get("input"), test.get("output")) for test in objects(tests)]


def program_tests(tests: Any) -> tuple[TestCase, ...]:
    """Return stdin tests with every byte as the benchmark has it."""
    pairs = texts(tests)
    if not all(isinstance(text, str) for pair in pairs for text in pair):
        raise Refused(Reason.non_string, "an input or output is not text")
    return tuple(TestCase(check_unicode(given), check_unicode(expected)) for given, expected in pairs)


def day(text: str) -> str:
    """Return YYYY-MM-DD of an ISO date with or without a time."""
    try:
        return date.fromisoformat(text[:10]).isoformat()
    except ValueError as error:
        raise Refused(Reason.bad_column, f"contest_date is {shown(text)}, not an ISO date") from error
