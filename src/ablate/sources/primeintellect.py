"""PrimeIntellect/verifiable-coding-problems: the tasks of SYNTHETIC-1, in several languages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ablate.sources.base import RawRow, Row
from ablate.sources.cases import function_name, function_tests, row_of_function, row_of_program
from ablate.sources.directory import find_files, parquet_rows
from ablate.sources.literals import parse_json_or_literal
from ablate.sources.reasons import Reason, Refused, shown
from ablate.sources.statements import programs_of, without_framing

COLUMNS = ("source", "task_type", "prompt", "gold_standard_solution", "verification_info")


class PrimeIntellect:
    name = "primeintellect"
    is_complete = False

    def records(self, directory: Path, config: str) -> Iterator[dict[str, Any]]:
        yield from parquet_rows(find_files(directory, "**/*.parquet"), COLUMNS)

    def decode(self, raw: RawRow) -> Row:
        if raw.text("task_type") != "verifiable_code":
            raise Refused(Reason.other_task, raw.text("task_type"))
        info = parse_json_or_literal(raw.text("verification_info"))
        if not isinstance(info, dict) or "test_cases" not in info:
            raise Refused(Reason.bad_shape, "verification_info must be an object with test_cases")
        if info.get("language") != "python":
            raise Refused(Reason.other_language, f"{shown(info.get('language'))}")
        solutions = [raw.optional_text("gold_standard_solution") or ""]
        return primeintellect_row(
            raw, raw.text("prompt"), info["test_cases"], solutions, platform=raw.optional_text("source")
        )


def primeintellect_row(raw: RawRow, prompt: str, tests: Any, solutions: Iterable[str], **values: Any) -> Row:
    """Return the row of one problem whose tests are ``[{type, input, output, fn_name}]``; solutions stand in fences.

    Raises:
        Refused: naming the rule that the tests break.
    """
    statement, starter_code = without_framing(prompt)
    references, notes = programs_of(solutions)
    values |= {"statement": statement, "references": references, "notes": notes}
    kind = one_kind(tests, "type", {"stdin_stdout", "function_call"})
    pairs = [(test.get("input"), test.get("output")) for test in tests]
    if kind == "stdin_stdout":
        return row_of_program(raw, pairs, starter_code, **values)
    names = [test.get("fn_name") for test in tests]
    if any(name != names[0] for name in names):
        raise Refused(Reason.mixed_kinds, f"several function names: {shown(names)}")
    name = function_name(names[0])
    return row_of_function(raw, name, function_tests(pairs, wrapped=True), starter_code, **values)


def objects(tests: Any) -> list[dict[str, Any]]:
    """Return a parsed column that must be a list of at least one object.

    Raises:
        Refused: bad_shape or no_tests.
    """
    if not isinstance(tests, list) or not all(isinstance(test, dict) for test in tests):
        raise Refused(Reason.bad_shape, "tests must be a list of objects")
    if not tests:
        raise Refused(Reason.no_tests)
    return tests


def one_kind(tests: Any, key: str, known: set[str]) -> str:
    """Return the kind that all tests name under ``key``.

    Raises:
        Refused: unknown_kind, mixed_kinds, or as ``objects``.
    """
    kinds = [test.get(key) for test in objects(tests)]
    for kind in kinds:
        if kind not in known:
            raise Refused(Reason.unknown_kind, f"{key} is {shown(kind)}, not one of {', '.join(sorted(known))}")
    if len(set(kinds)) > 1:
        raise Refused(Reason.mixed_kinds, " and ".join(sorted(set(kinds))))
    return kinds[0]
