"""Rows of a table: which of them belong to one group, what every sampled row holds, and what failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from ablate.types import Completion, Problem, RolloutGroup, Verdict


def cut_into_groups(rows: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Cut rows where the number of the group changes."""
    return [list(group) for _, group in groupby(rows, itemgetter("group"))]


def of_problem(problem: Problem, completion: Completion) -> dict[str, Any]:
    return {
        "problem_id": problem.id,
        "difficulty": problem.difficulty,
        "statement": storable(problem.statement),
        "prompt": storable(completion.prompt_text),
        "sample": completion.sample,
    }


def of_verdict(verdict: Verdict) -> dict[str, Any]:
    """Seconds are left out, because they differ between equal runs."""
    return {"verdict": str(verdict.kind), "num_passed": verdict.num_passed, "num_tests": verdict.num_tests}


def failed_rows(groups: Sequence[RolloutGroup], number: str) -> Iterator[dict[str, Any]]:
    """The first failed test of each sample that has one, and the cut texts; the column ``number`` has its row.

    They have a file of their own, because a program may print the time: its words differ between equal runs.
    """
    for row, verdict in enumerate(verdict for group in groups for verdict in group.verdicts):
        if verdict.first_failed is not None or verdict.detail:
            yield {
                number: row,
                "test": verdict.first_failed,
                "input": verdict.failed_input,
                "expected": verdict.expected,
                "got": verdict.got,
                "detail": storable(verdict.detail),
            }


def storable(text: str) -> str:
    """The text without lone surrogates, which UTF-8 cannot encode and a program may print."""
    return text.encode("utf-8", "replace").decode()
