"""Samples in LiveCodeBench's format for custom evaluation: ``[{"question_id": ID, "code_list": [CODE, ...]}, ...]``."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ablate.errors import UserError
from ablate.evals.scores import eval_rows
from ablate.files import write_atomic
from ablate.types import Completion, EvalRow, Problem, Verdict

log = logging.getLogger(__name__)


def write_samples(path: Path, programs: Mapping[str, Sequence[str]]) -> None:
    """Write the programs of every problem, by problem id; an answer without a program is an empty text."""
    rows = [{"question_id": name, "code_list": list(codes)} for name, codes in programs.items()]
    write_atomic(path, json.dumps(rows, indent=1) + "\n")


def read_samples_file(path: Path, problems: Iterable[Problem]) -> dict[str, list[str]]:
    """Return the programs of every problem, by problem id and in the order of ``problems``.

    A file may hold problems outside the window that is evaluated, as published files of a whole benchmark do: they are
    left out, and said.

    Raises:
        UserError: for a file of another format, and for a problem that occurs twice or is missing.
    """
    form = 'a JSON list of {"question_id": ID, "code_list": [CODE, ...]}'
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"samples={path} does not exist: give {form}") from None
    except ValueError as error:
        raise UserError(f"samples={path} is not JSON ({error}): give {form}") from None
    programs: dict[str, list[str]] = {}
    for number, row in enumerate(rows if isinstance(rows, list) else [rows]):
        if not is_row(row):
            raise UserError(f"samples={path}: entry {number} has another form: give {form}, with at least one text")
        name = str(row["question_id"])
        if name in programs:
            raise UserError(f"samples={path}: question_id={name} occurs twice: join the two lists")
        programs[name] = row["code_list"]
    names = [problem.id for problem in problems]
    missing, unknown = set(names) - set(programs), set(programs) - set(names)
    if missing:
        raise UserError(
            f"samples={path} lacks {len(missing)} of {len(names)} problems and has {len(unknown)} others, such as: "
            f"{min(missing)} has no samples: use the data.eval that the samples belong to"
        )
    if unknown:
        log.warning("samples=%s: %d problems are not in data.eval and are left out", path, len(unknown))
    return {name: programs[name] for name in names}


def is_row(row: object) -> bool:
    if not isinstance(row, dict) or "question_id" not in row:
        return False
    codes = row.get("code_list")
    return isinstance(codes, list) and bool(codes) and all(isinstance(code, str) for code in codes)


def foreign_row(problem: Problem, sample: int, verdict: Verdict) -> EvalRow:
    """The row of a sample that another program drew: its step, context and number of tokens are unknown, so 0."""
    unknown = Completion(problem.id, sample, 0, (), (), (), "", finished=True)
    return eval_rows(0, 0, problem, [unknown], [verdict])[0]
