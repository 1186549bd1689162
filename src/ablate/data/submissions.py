"""Submissions from a JSONL file: one problem per line, with the programs that people or models wrote for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ablate.data.problems import BrokenLine, numbered_lines, parse_object, problem_of, rows_field, text_field
from ablate.types import Problem


@dataclass(frozen=True)
class Submission:
    problem: Problem
    file: str  # a name, unique among the submissions to its problem
    code: str


def read_submissions(cases: Path, complain: Callable[[int, str], None]) -> Iterator[Submission]:
    """Yield all submissions of a file in order; ``complain(line number, reason)`` is called for each broken one."""
    for number, line in numbered_lines(cases):
        try:
            row = parse_object(line)
            problem, submissions = problem_of(row), rows_field(row, "submissions")
        except BrokenLine as reason:
            complain(number, str(reason))
            continue
        for entry in submissions:
            try:
                yield Submission(problem, text_field(entry, "file"), text_field(entry, "code"))
            except BrokenLine as reason:
                complain(number, f"in submissions: {reason}")
