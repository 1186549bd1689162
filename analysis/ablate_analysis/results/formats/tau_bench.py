"""tau-bench: a list of trials; tau2-bench: ``simulations`` in one file, or in a folder next to ``results.json``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ablate_analysis.results.files import whole_json
from ablate_analysis.results.samples import Options, Results, Sample, number_of

NAME = "tau-bench"
FULL, MARGIN = 1.0, 1e-6  # a task is solved if the product of its checks is 1, up to rounding
UNFINISHED = "max_steps"
NO_VERDICT = "infrastructure_error"


def matches(path: Path) -> bool:
    file = path / "results.json" if path.is_dir() else path
    content = whole_json(file) if file.suffix == ".json" and file.is_file() else None
    if isinstance(content, dict):
        return {"info", "tasks"} <= set(content)
    first = content[0] if isinstance(content, list) and content else None
    return isinstance(first, dict) and {"task_id", "reward", "traj", "trial"} <= set(first)


def trials_of(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    content = whole_json(path / "results.json" if path.is_dir() else path)
    rows = content if isinstance(content, list) else content.get("simulations") or []
    yield from ((row, f"{path.name}[{number}]") for number, row in enumerate(rows))
    if not rows:
        folder = path if path.is_dir() else path.parent
        yield from ((whole_json(file), file.name) for file in sorted(folder.glob("simulations/*.json")))


def read(path: Path, options: Options) -> Results:
    results = Results(NAME)
    content = whole_json(path / "results.json" if path.is_dir() else path)
    if isinstance(content, dict):  # the simulated user and the domain are part of the task
        about = content["info"]
        results.versions["domain"] = str((about.get("environment_info") or {}).get("domain_name"))
        results.conditions["simulated user"] = str((about.get("user_info") or {}).get("llm"))
    num_failed = 0
    for row, source in trials_of(path):
        ended = row.get("termination_reason")
        value = row["reward"] if "reward" in row else (row.get("reward_info") or {}).get("reward")
        reward = None if ended == NO_VERDICT else number_of(value, f"{path}: reward of {row['task_id']}")
        num_failed += reward is None
        results.samples.append(
            Sample(
                str(row["task_id"]),
                None if reward is None else float(reward >= FULL - MARGIN),
                int(row.get("trial") or 0),
                finished=None if ended is None else ended != UNFINISHED,
                source=source,
            )
        )
    results.note_count(num_failed, "trials have no reward, and so no verdict")
    return results
