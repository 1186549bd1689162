"""The saved rollouts of one step as side files: an index for the table, and the texts in chunks of about a megabyte."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.records import read_columns
from ablate.records.groups import cut_into_groups
from ablate_analysis.load import Run
from ablate_analysis.pages.payload import write_side_file
from ablate_analysis.pages.tokens import TokenFiles

CHUNK_CHARACTERS = 1_000_000
COLUMNS = (
    "group", "problem_id", "difficulty", "statement", "prompt", "sample", "text", "finished", "reward", "verdict",
    "num_passed", "num_tests", "advantage", "in_loss",
)  # fmt: skip

Extract = Callable[[str], str | None]  # a response -> its program


@dataclass(frozen=True)
class StepSummary:
    """What the menu of steps shows."""

    step: int
    rollouts: int
    passed: int


def step_name(step: int) -> str:
    return f"step_{step:05d}"


def saved_steps(run: Run) -> list[int]:
    """The steps whose rollouts the run kept, in order."""
    return sorted(
        int(path.stem.removeprefix("step_")) for path in run.directory.steps.rollouts_path.glob("step_*.parquet")
    )


def chosen_steps(steps: Sequence[int], limit: int | None) -> list[int]:
    """At most ``limit`` of the steps, evenly spaced; the last one is among them."""
    if limit is None or len(steps) <= limit:
        return list(steps)
    return [steps[-1 - (len(steps) * index) // limit] for index in range(limit)][::-1]


def write_step(run: Run, step: int, folder: Path, extract: Extract, tokens: Sequence[TokenFiles]) -> StepSummary:
    """Write ``steps/step_…/index.js`` and ``texts_….js`` of one step below ``folder``."""
    steps = run.directory.steps
    rows = read_columns(steps.rollouts_file(step), COLUMNS, lengths=("response_ids",))
    failed = steps.failed_tests(step)
    group_of_row = [group for group, members in enumerate(cut_into_groups(rows)) for _ in members]
    chunk_of_row = chunks_of([len(row["text"]) for row in rows])
    name = f"steps/{step_name(step)}"
    for chunk in range(chunk_of_row[-1] + 1 if rows else 0):
        members = {index: row for index, row in enumerate(rows) if chunk_of_row[index] == chunk}
        write_side_file(folder, f"{name}/texts_{chunk}", texts_of(members, failed, extract))
    write_side_file(folder, f"{name}/index", index_of(step, rows, group_of_row, chunk_of_row, tokens))
    return StepSummary(step, len(rows), sum(row["verdict"] == "accepted" for row in rows))


def chunks_of(sizes: Sequence[int]) -> list[int]:
    """The number of the chunk of each row: rows stay in order, a chunk is full at ``CHUNK_CHARACTERS``."""
    numbers, number, filled = [], 0, 0
    for size in sizes:
        if filled and filled + size > CHUNK_CHARACTERS:
            number, filled = number + 1, 0
        numbers.append(number)
        filled += size
    return numbers


def texts_of(
    members: Mapping[int, Mapping[str, Any]], failed: Mapping[int, Mapping[str, Any]], extract: Extract
) -> dict[str, Any]:
    """The texts of the rollouts of one chunk; statement and prompt are kept once per problem."""
    problems: dict[tuple[str, str], int] = {}
    rollouts = {}
    for index, row in members.items():
        described = row.get("statement", ""), row.get("prompt", "")
        test = failed.get(index)
        rollouts[index] = {
            "problem": problems.setdefault(described, len(problems)),
            "response": row["text"],
            "program": extract(row["text"]),
            "failed_test": {name: test[name] for name in ("test", "input", "expected", "got", "detail")}
            if test
            else None,
        }
    return {"problems": [{"statement": a, "prompt": b} for a, b in problems], "rollouts": rollouts}


def index_of(
    step: int,
    rows: Sequence[Mapping[str, Any]],
    group_of_row: Sequence[int],
    chunk_of_row: Sequence[int],
    tokens: Sequence[TokenFiles],
) -> dict[str, Any]:
    """The columns of the table, and where each rollout's texts and per-token values are."""
    problems = list(dict.fromkeys((row["problem_id"], row["difficulty"]) for row in rows))
    verdicts = list(dict.fromkeys(row["verdict"] for row in rows))
    same = ("sample", "reward", "num_passed", "num_tests", "in_loss")
    return {
        "step": step,
        "problems": [problem for problem, _ in problems],
        "difficulties": [difficulty for _, difficulty in problems],
        "verdicts": verdicts,
        "problem": [problems.index((row["problem_id"], row["difficulty"])) for row in rows],
        "verdict": [verdicts.index(row["verdict"]) for row in rows],
        **{name: [row[name] for row in rows] for name in same},
        "advantage": [float(f"{row['advantage']:.6g}") if math.isfinite(row["advantage"]) else None for row in rows],
        "length": [row["num_response_ids"] for row in rows],
        "truncated": [not row["finished"] for row in rows],
        "group": list(group_of_row),
        "chunk": list(chunk_of_row),
        "tokens": [vars(files) for files in tokens],
    }
