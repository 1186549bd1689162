"""The offline difficulty filter: how often a model solved each problem, counted once and applied when problems load.

The counts are the rows that ``python -m ablate.evaluate eval=pass_counts data.eval=STORE out=FILE`` writes, one per
sample, with the problem's id. So the problem store does not depend on a model, and another model needs another file
only. The file also says under which conditions it was counted, and a run that trains under others is told.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ablate.config import RunConfig
from ablate.data.templates import make_templates
from ablate.errors import UserError
from ablate.files.parquet import iterate_parquet, read_facts
from ablate.types import Problem, VerdictKind

ROWS_PER_BATCH = 8192
LIMITS = (
    *("time_limit_s", "memory_limit_mib", "output_limit_kib", "max_tests", "comparison", "extraction"),
    *("case_insensitive", "packages"),
)


def counted_under(config: RunConfig, model_dir: Path, checkpoint: Path | None) -> dict[str, Any]:
    """What the counts of an evaluation depend on, to stand in its file."""
    drawn = config.eval
    return {
        **shared_conditions(config),
        "model": f"{config.model.name} ({model_dir.name})",
        "checkpoint": None if checkpoint is None else "/".join(checkpoint.resolve().parts[-5:]),
        "contexts": [context.length for context in drawn.contexts],
        "temperature": drawn.temperature,
        "top_p": drawn.top_p,
        "seed": drawn.seed,
        "samples_per_problem": drawn.samples_per_problem,
    }


def trained_under(config: RunConfig, model_dir: Path) -> dict[str, Any]:
    """The same of the first stage of a training run."""
    return {
        **shared_conditions(config),
        "model": f"{config.model.name} ({model_dir.name})",
        "checkpoint": None,
        "contexts": [config.context.stages[0].length],
        "temperature": config.rollout.temperature,
        "top_p": config.rollout.top_p,
    }


def shared_conditions(config: RunConfig) -> dict[str, Any]:
    """Template and limits; long texts by their digest."""
    limits = {f"verify.{name}": getattr(config.verify, name) for name in LIMITS}
    texts = {"verify.prelude": config.verify.prelude, "template": asdict(make_templates(config.data))}
    return limits | {name: digest(text) for name, text in texts.items()}


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def difference(path: Path, run: Mapping[str, Any]) -> str | None:
    """The sentence that tells a run under which other conditions its pass counts were made; None for the same."""
    facts = read_facts(path)
    if not facts:
        return f"data.pass_counts={path} does not say under which conditions it was counted: count again to be sure"
    changed = [
        f"{name} was {facts.get(name)} and is {value} here" for name, value in run.items() if facts.get(name) != value
    ]
    if not changed:
        return None
    return f"data.pass_counts={path} was counted under other conditions: {'; '.join(changed)}"


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
