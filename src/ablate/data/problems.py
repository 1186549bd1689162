"""Problems from JSONL files: one object a line, checked field by field before a run starts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ablate.errors import UserError
from ablate.types import Problem, TestCase

SHIPPED_PREFIX = "shipped:"
SHIPPED_DIR = Path(__file__).resolve().parent / "shipped"
INPUT_MODES = ("stdin", "functional")
UNKNOWN_DIFFICULTY = "unknown"

REQUIRED = ("id", "statement", "tests")
OPTIONAL_TYPES: dict[str, tuple[type, ...]] = {
    "difficulty": (str,),
    "input_mode": (str,),
    "fn_name": (str,),
    "float_tolerance": (int, float),
    "time_limit_s": (int, float),
    "memory_limit_mib": (int,),
    "reference": (str,),
    "source": (str,),
    "license": (str,),
}
# Carried by files that the judge's own tests read: programs with their known verdicts.
IGNORED = ("submissions",)


def problems_path(where: str) -> Path:
    """Return the file that ``where`` names: a path, or ``shipped:NAME`` for a file of this package.

    Raises:
        UserError: when there is no such file.
    """
    if not where.startswith(SHIPPED_PREFIX):
        path = Path(where).expanduser()
        if not path.is_file():
            raise UserError(f"problem file {where} does not exist: mend data.train or data.eval")
        return path
    path = SHIPPED_DIR / where.removeprefix(SHIPPED_PREFIX)
    if not path.is_file():
        names = ", ".join(sorted(file.name for file in SHIPPED_DIR.glob("*.jsonl")))
        raise UserError(f"{where} is not shipped with ablate: choose one of {names}")
    return path


def load_problems(where: str) -> list[Problem]:
    """Read and check a JSONL file of problems (a path or ``shipped:NAME``), in file order; blank lines are skipped.

    Raises:
        UserError: naming the file, the line and the field that breaks a rule; also for an id that occurs twice and
            for a file without problems.
    """
    path = problems_path(where)
    problems: list[Problem] = []
    line_of_id: dict[str, int] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        problem = parse_problem(line, f"{path}, line {number}")
        if problem.id in line_of_id:
            raise UserError(
                f"{path}, line {number}: field 'id' is {problem.id!r}, as on line {line_of_id[problem.id]}: "
                "ids are unique"
            )
        line_of_id[problem.id] = number
        problems.append(problem)
    if not problems:
        raise UserError(f"{path} holds no problems: give one JSON object a line")
    return problems


def parse_problem(line: str, place: str) -> Problem:
    """Check one line; ``place`` ("FILE, line N") begins every message.

    Raises:
        UserError: for bad JSON, a missing, unknown or ill-typed field.
    """
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{place} is not JSON ({error.msg} at column {error.colno}): give one object a line") from error
    if not isinstance(row, dict):
        raise UserError(f"{place} is a JSON {type(row).__name__}, not an object: give one object a line")
    for name in REQUIRED:
        if name not in row:
            raise UserError(f"{place}: field {name!r} is missing: every problem needs {', '.join(REQUIRED)}")
    for name in row:
        if name not in REQUIRED and name not in OPTIONAL_TYPES and name not in IGNORED:
            raise UserError(f"{place}: field {name!r} is unknown: use {', '.join((*REQUIRED, *OPTIONAL_TYPES))}")
    for name in ("id", "statement"):
        if not isinstance(row[name], str) or not row[name].strip():
            raise UserError(f"{place}: field {name!r} must be a string that is not blank, not {row[name]!r}")
    given = optional_fields(row, place)
    problem = Problem(
        id=row["id"],
        statement=row["statement"],
        tests=parse_tests(row["tests"], place),
        **{"difficulty": UNKNOWN_DIFFICULTY, **given},
    )
    check_input_mode(problem, place)
    return problem


def optional_fields(row: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return the optional fields that are given; null counts as not given."""
    given = {name: row[name] for name in OPTIONAL_TYPES if row.get(name) is not None}
    for name, value in given.items():
        allowed = OPTIONAL_TYPES[name]
        if isinstance(value, bool) or not isinstance(value, allowed):
            expected = " or ".join(kind.__name__ for kind in allowed)
            raise UserError(f"{place}: field {name!r} must be {expected} or null, not {value!r}")
        if not isinstance(value, str) and not 0 < value < float("inf"):
            raise UserError(f"{place}: field {name!r} must be above 0 and finite, not {value}")
    return given


def parse_tests(rows: Any, place: str) -> tuple[TestCase, ...]:
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{place}: field 'tests' must be a list of at least one {{input, output}}")
    tests = []
    for index, row in enumerate(rows):
        field = f"'tests[{index}]'"
        if not isinstance(row, dict) or set(row) != {"input", "output"}:
            raise UserError(f"{place}: field {field} must have exactly the keys input and output")
        for name in ("input", "output"):
            if not isinstance(row[name], str):
                raise UserError(f"{place}: field {field}.{name} must be a string, not {row[name]!r}")
        tests.append(TestCase(row["input"], row["output"]))
    return tuple(tests)


def check_input_mode(problem: Problem, place: str) -> None:
    if problem.input_mode not in INPUT_MODES:
        raise UserError(f"{place}: field 'input_mode' is {problem.input_mode!r}, not one of {', '.join(INPUT_MODES)}")
    if problem.input_mode == "functional" and problem.fn_name is None:
        raise UserError(f"{place}: field 'fn_name' is missing: input_mode functional needs the function's name")
    if problem.input_mode == "stdin" and problem.fn_name is not None:
        raise UserError(f"{place}: field 'fn_name' is {problem.fn_name!r}, but input_mode stdin calls no function")


def problem_row(problem: Problem) -> dict[str, Any]:
    """Return the JSON object that ``parse_problem`` reads back as ``problem``; fields without a value are left out."""
    row: dict[str, Any] = {"id": problem.id, "statement": problem.statement}
    for name in OPTIONAL_TYPES:
        value = getattr(problem, name)
        if value is not None:
            row[name] = value
    row["tests"] = [{"input": test.input, "output": test.output} for test in problem.tests]
    return row
