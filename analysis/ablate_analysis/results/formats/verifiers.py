"""verifiers and prime-rl: ``results.jsonl`` of an evaluation, and ``traces.jsonl`` with an episode a line."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

from ablate.errors import UserError
from ablate_analysis.results.files import first_line, json_lines
from ablate_analysis.results.samples import Options, Results, Sample, choose, number_of, whole_number

NAME = "verifiers"
FILES = ("results.jsonl", "traces.jsonl")
UNFINISHED = ("max_turns", "context_length")


def matches(path: Path) -> bool:
    file = found(path)
    if file is None:
        return False
    row = first_line(file)
    return ("traces" in row and "task" in row) or ("example_id" in row and "reward" in row)


def found(path: Path) -> Path | None:
    if path.is_file():
        return path if path.suffix == ".jsonl" else None
    return next((path / name for name in FILES if (path / name).is_file()), None)


def read(path: Path, options: Options) -> Results:
    file = found(path)
    if file is None:
        raise UserError(f"{path} holds none of {', '.join(FILES)}: name the file")
    results = Results(NAME)
    order: Counter[str] = Counter()
    num_errors = 0
    for number, row in json_lines(file):
        where = f"{file}:{number}"
        one = episode(row, options, where) if "traces" in row else rollout(row, options, where)
        problem, score, finished, tokens = one
        num_errors += score is None
        results.samples.append(Sample(problem, score, order[problem], "", finished, tokens, f"{file.name}:{number}"))
        order[problem] += 1
    results.note_count(num_errors, "rollouts ended in an error and have no verdict")
    if options.metric:
        results.versions["metric"] = options.metric
    return results


def rollout(row: dict[str, Any], options: Options, where: str) -> tuple[str, float | None, bool | None, int | None]:
    """A line of results.jsonl."""
    score = row["reward"]
    if options.metric:
        metrics = row.get("metrics") or {}
        score = metrics[choose(options.metric, sorted(metrics), "metric", where)]
    is_cut, reason = row.get("is_truncated"), row.get("stop_condition")
    finished = (not is_cut) if isinstance(is_cut, bool) else finished_by(reason, None)
    tokens = whole_number((row.get("token_usage") or {}).get("output_tokens"))
    return str(row["example_id"]), None if row.get("error") is not None else number_of(score, where), finished, tokens


def episode(row: dict[str, Any], options: Options, where: str) -> tuple[str, float | None, bool | None, int | None]:
    """A line of traces.jsonl; of several agents the trainable one counts."""
    traces = row["traces"] or [{}]
    trace = next((each for each in traces if each.get("trainable", each.get("is_trainable"))), traces[0])
    rewards = trace.get("rewards") or {}
    if options.metric:
        score = number_of(rewards[choose(options.metric, sorted(rewards), "metric", where)]["score"], where)
    else:
        parts = [(number_of(each.get("score"), where), each.get("weight", 1.0)) for each in rewards.values()]
        score = None if not parts or any(value is None for value, _ in parts) else sum(v * w for v, w in parts)
    calls = trace.get("calls") or []
    last = calls[-1].get("finish_reason") if calls else None
    usages = [call.get("usage") or {} for call in calls]
    counts = [whole_number(usage.get("output_tokens", usage.get("completion_tokens"))) for usage in usages]
    tokens = sum(count or 0 for count in counts) if any(count is not None for count in counts) else None
    failed = row.get("ok") is False or bool(row.get("errors"))
    task = row.get("task") or {}
    problem = str(task["key"]) if task.get("key") is not None else content_key(task)
    return problem, None if failed else score, finished_by(trace.get("stop_condition"), last), tokens


def content_key(task: Any) -> str:
    return hashlib.sha256(json.dumps(task, sort_keys=True, default=str).encode()).hexdigest()[:16]


def finished_by(condition: Any, last_reason: Any) -> bool | None:
    if condition is None and last_reason is None:
        return None
    is_cut = condition in UNFINISHED or (isinstance(condition, str) and condition.endswith("_tokens"))
    return not is_cut and last_reason != "length"
