"""The offline difficulty filter: how often a model solved each problem, counted once and applied when problems load.

The counts are the rows that ``python -m ablate.evaluate data.eval=STORE out=FILE`` writes, one per sample, with the
problem's id. So the problem store does not depend on a model, and another model needs another file only.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ablate.errors import UserError
from ablate.parquet import iterate_parquet
from ablate.types import Problem, VerdictKind

ROWS_PER_BATCH = 8192


def read_pass_counts(path: Path) -> dict[str, tuple[int, int]]:
    """How many samples of each problem passed, and how many have a verdict.

    Raises:
        UserError: for a file that is not there, or has no rows of an evaluation.
    """
    if not path.is_file():
        raise UserError(f"data.pass_counts={path} is not a file: write it with python -m ablate.evaluate out={path}")
    counts: dict[str, tuple[int, int]] = {}
    for row in iterate_parquet(path, ["problem_id", "passed", "verdict"], ROWS_PER_BATCH):
        if row["verdict"] != VerdictKind.infrastructure_error:
            passed, samples = counts.get(row["problem_id"], (0, 0))
            counts[row["problem_id"]] = passed + bool(row["passed"]), samples + 1
    return counts


def within_pass_rate(
    problems: Sequence[Problem], path: Path, min_pass_rate: float, max_pass_rate: float
) -> list[Problem]:
    """Return the problems whose share of passed samples lies between both bounds, which are inside, in order.

    Raises:
        UserError: for a problem without a count, and when no problem is left.
    """
    counts = read_pass_counts(path)
    missing = [problem.id for problem in problems if problem.id not in counts]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(problems)} problems have no pass count in {path}, such as {missing[0]}: evaluate "
            "the same problems that data.train names"
        )
    rates = {name: passed / samples for name, (passed, samples) in counts.items()}
    kept = [problem for problem in problems if min_pass_rate <= rates[problem.id] <= max_pass_rate]
    if not kept:
        raise UserError(
            f"no problem has a pass rate from data.min_pass_rate={min_pass_rate} to "
            f"data.max_pass_rate={max_pass_rate}: widen the range"
        )
    return kept
