"""Problems from a problem store, or from a JSONL file: one object per line, checked before a run starts."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ablate.data.store import PROBLEMS_FILE, read_store
from ablate.errors import UserError
from ablate.types import Checker, Problem, TestCase

SHIPPED_PREFIX = "shipped:"
SHIPPED_DIR = Path(__file__).resolve().parent / "shipped"
INPUT_MODES = ("stdin", "functional", "file")
UNKNOWN_DIFFICULTY = "unknown"

REQUIRED = ("id", "statement", "tests")
NUMBERS = ("float_tolerance", "time_limit_s", "memory_limit_mib", "rating", "num_examples")
TEXTS = (
    *("difficulty", "input_mode", "fn_name", "starter_code"),
    *("platform", "date", "reference", "source", "license", "tags"),
)
OPTIONAL = (*TEXTS, *NUMBERS, "checker")
CHECKER_KINDS = ("python", "kattis", "testlib", "default")
IGNORED = ("submissions",)  # programs of other people, which ``ablate.verify`` verifies


class BrokenLine(Exception):
    """A line that breaks a rule; the message names the field, the value and the rule."""


def problems_path(where: str) -> Path:
    """Return what ``where`` names: a JSONL file, the directory of a store, or ``shipped:NAME``, a file of this package.

    Raises:
        UserError: when there is no such file or store.
    """
    if not where.startswith(SHIPPED_PREFIX):
        path = Path(where).expanduser()
        if path.is_dir() and not (path / PROBLEMS_FILE).is_file():
            raise UserError(
                f"{where} is no problem store, because it has no {PROBLEMS_FILE}: fix data.train or data.eval"
            )
        if not path.exists():
            raise UserError(f"problem file {where} does not exist: fix data.train or data.eval")
        return path
    path = SHIPPED_DIR / where.removeprefix(SHIPPED_PREFIX)
    if not path.is_file():
        names = ", ".join(sorted(file.name for file in SHIPPED_DIR.glob("*.jsonl")))
        raise UserError(f"{where} is not shipped with ablate: choose one of {names}")
    return path


def load_problems(where: str) -> list[Problem]:
    """Read problems in file order, from the directory of a problem store or from a JSONL file.

    The tests of a store stay on disk until a verifier's worker runs them. Those of a JSONL file are in memory.

    Raises:
        UserError: for a damaged store; for a JSONL file, naming the file, the line and the field that breaks a rule;
            also for an id that occurs twice and for a file without problems.
    """
    path = problems_path(where)
    problems = list(read_store(path)) if path.is_dir() else read_jsonl(path)
    if not problems:
        raise UserError(
            f"{path} holds no problems: give a file with one JSON object per line, or a store that has some"
        )
    return problems


def read_jsonl(path: Path) -> list[Problem]:
    """Read and check a JSONL file; blank lines are skipped. Raises as ``load_problems``."""
    problems: list[Problem] = []
    line_of_id: dict[str, int] = {}
    for number, line in numbered_lines(path):
        try:
            problem = parse_problem(line)
        except BrokenLine as reason:
            raise UserError(f"{path}, line {number}: {reason}") from reason
        if problem.id in line_of_id:
            raise UserError(
                f"{path}, line {number}: field 'id' is {problem.id!r}, as on line {line_of_id[problem.id]}: "
                "ids are unique"
            )
        line_of_id[problem.id] = number
        problems.append(problem)
    return problems


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield every line that is not blank with its number, counted from 1."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield number, line


def parse_problem(line: str | bytes) -> Problem:
    """Check one line of a problem file.

    Raises:
        BrokenLine: for bad JSON, or a field that is missing, unknown or of a wrong value.
    """
    row = parse_object(line)
    for name in REQUIRED:
        if name not in row:
            raise BrokenLine(f"field {name!r} is missing: every problem needs {', '.join(REQUIRED)}")
    for name in row:
        if name not in (*REQUIRED, *OPTIONAL, *IGNORED):
            raise BrokenLine(f"field {name!r} is unknown: use {', '.join((*REQUIRED, *OPTIONAL))}")
    if not text_field(row, "statement").strip():
        raise BrokenLine("field 'statement' must not be blank")
    return problem_of(row)


def parse_object(line: str | bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BrokenLine(f"not JSON ({error}): give one object per line") from error
    if not isinstance(row, dict):
        raise BrokenLine(f"a JSON {type(row).__name__}, not an object: give one object per line")
    return row


def problem_of(row: Mapping[str, Any]) -> Problem:
    """Check every field of a problem that is given; the statement and fields without a meaning here may be absent.

    Raises:
        BrokenLine: naming the field, its value and the rule.
    """
    if not text_field(row, "id").strip():
        raise BrokenLine("field 'id' must not be blank")
    problem = Problem(
        id=row["id"],
        statement=optional_text(row, "statement") or "",
        tests=parse_tests(row.get("tests")),
        difficulty=optional_text(row, "difficulty") or UNKNOWN_DIFFICULTY,
        input_mode=optional_text(row, "input_mode") or "stdin",
        fn_name=optional_text(row, "fn_name") or None,
        float_tolerance=optional_number(row, "float_tolerance"),
        time_limit_s=optional_number(row, "time_limit_s"),
        memory_limit_mib=whole_number(row, "memory_limit_mib"),
        starter_code=optional_text(row, "starter_code"),
        platform=optional_text(row, "platform"),
        date=optional_text(row, "date"),
        reference=optional_text(row, "reference"),
        source=optional_text(row, "source"),
        license=optional_text(row, "license"),
        checker=optional_checker(row),
        rating=whole_number(row, "rating"),
        tags=optional_text(row, "tags"),
        num_examples=whole_number(row, "num_examples"),
    )
    check_input_mode(problem)
    return problem


def shown(value: Any) -> str:
    return json.dumps(value)[:60]


def text_field(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        raise BrokenLine(f"field {name!r} must be text, not {shown(value)}")
    return value


def optional_text(row: Mapping[str, Any], name: str) -> str | None:
    return None if row.get(name) is None else text_field(row, name)


def optional_number(row: Mapping[str, Any], name: str) -> float | None:
    """A finite number above 0; null and 0 count as not given."""
    value = row.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise BrokenLine(f"field {name!r} must be a finite number above 0, or null, not {shown(value)}")
    return value or None


def whole_number(row: Mapping[str, Any], name: str) -> int | None:
    value = optional_number(row, name)
    if value is not None and value != int(value):
        raise BrokenLine(f"field {name!r} must be a whole number, not {value}")
    return None if value is None else int(value)


def rows_field(row: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    rows = row.get(name)
    if not isinstance(rows, list) or not rows or not all(isinstance(entry, dict) for entry in rows):
        raise BrokenLine(f"field {name!r} must be a list of at least one object")
    return rows


def parse_tests(rows: Any) -> tuple[TestCase, ...]:
    tests = []
    for index, row in enumerate(rows_field({"tests": rows}, "tests")):
        try:
            tests.append(TestCase(text_field(row, "input"), text_field(row, "output")))
        except BrokenLine as reason:
            raise BrokenLine(f"in 'tests[{index}]': {reason}") from None
    return tuple(tests)


def optional_checker(row: Mapping[str, Any]) -> Checker | None:
    """The checker of ``{"kind": ..., "files": {name: text}, "flags": [...]}``."""
    value = row.get("checker")
    if value is None:
        return None
    form = 'give {"kind": ..., "files": {name: text}, "flags": [...]}, or null'
    if not isinstance(value, dict) or value.get("kind") not in CHECKER_KINDS:
        raise BrokenLine(f"field 'checker' has no kind of {', '.join(CHECKER_KINDS)}: {form}")
    files, flags = value.get("files") or {}, value.get("flags") or []
    texts = [*files.values(), *flags] if isinstance(files, dict) and isinstance(flags, list) else [None]
    if not all(isinstance(text, str) for text in texts) or bool(files) == (value["kind"] == "default"):
        raise BrokenLine(f"field 'checker': a {value['kind']} checker needs {'no' if files else 'its'} files: {form}")
    if any(name.startswith("/") or ".." in name.split("/") for name in files):
        raise BrokenLine("field 'checker': a file's name must be a relative path")
    return Checker(value["kind"], tuple(files.items()), tuple(flags))


def check_input_mode(problem: Problem) -> None:
    if problem.input_mode not in INPUT_MODES:
        raise BrokenLine(f"field 'input_mode' is {problem.input_mode!r}, not one of {', '.join(INPUT_MODES)}")
    if problem.input_mode == "functional" and problem.fn_name is None:
        raise BrokenLine("field 'fn_name' is missing: input_mode functional needs the function's name")
    if problem.input_mode != "functional" and problem.fn_name is not None:
        raise BrokenLine(
            f"field 'fn_name' is {problem.fn_name!r}, but input_mode {problem.input_mode} calls no function"
        )
    if problem.checker is not None and problem.input_mode == "functional":
        raise BrokenLine("field 'checker' is given, but input_mode functional returns a value: a checker reads output")


def problem_row(problem: Problem) -> dict[str, Any]:
    """Return the JSON object that ``parse_problem`` reads back as ``problem``; fields without a value are left out."""
    row: dict[str, Any] = {"id": problem.id, "statement": problem.statement}
    for name in OPTIONAL:
        value = getattr(problem, name)
        if value is not None:
            row[name] = json.loads(value.to_json()) if isinstance(value, Checker) else value
    row["tests"] = [{"input": test.input, "output": test.output} for test in problem.tests]
    return row
