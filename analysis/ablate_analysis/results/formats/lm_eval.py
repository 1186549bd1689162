"""lm-evaluation-harness: ``samples_<task>_<time>.jsonl``, or the directory of a model that holds them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ablate.errors import UserError
from ablate_analysis.results.files import first_line, json_lines
from ablate_analysis.results.samples import Options, Results, Sample, choose, number_of

NAME = "lm-eval"
FILE_NAME = re.compile(r"samples_(?P<task>.+?)_(?P<time>\d{4}-\d\d-\d\dT[\d.:\-]+)\.jsonl$")
FIXED = {
    *("doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics", "doc_hash"),
    *("prompt_hash", "target_hash"),
}


def matches(path: Path) -> bool:
    if path.is_dir():
        return any(path.glob("samples_*.jsonl"))
    row = first_line(path) if path.suffix == ".jsonl" else {}
    return "doc_id" in row and bool({"resps", "filtered_resps", "doc_hash"} & set(row))


def read(path: Path, options: Options) -> Results:
    results = Results(NAME)
    files = chosen_files(path, options, results)
    for task, file in files.items():
        read_task(file, f"{task}/" if len(files) > 1 else "", options, results)
        read_settings(file, task, results)
    return results


def chosen_files(path: Path, options: Options, results: Results) -> dict[str, Path]:
    """Task -> its newest file."""
    found: dict[str, list[Path]] = {}
    for file in [path] if path.is_file() else sorted(path.glob("samples_*.jsonl")):
        named = FILE_NAME.search(file.name)
        task = named["task"] if named else file.stem.removeprefix("samples_")
        found.setdefault(task, []).append(file)
    if options.task is not None and path.is_dir():
        found = {(task := choose(options.task, sorted(found), "task", path)): found[task]}
    for task, files in found.items():
        if len(files) > 1:
            results.notes.append(f"{task}: {len(files)} files; {files[-1].name} was read, which is the newest")
    return {task: files[-1] for task, files in found.items()}


def read_task(file: Path, prefix: str, options: Options, results: Results) -> None:
    """One record for each (document, filter); the score of one filter and one metric counts."""
    filters: set[str] = set()
    metric: str | None = None
    rows = []
    for number, row in json_lines(file):
        name = str(row.get("filter", "none"))
        filters.add(name)
        if options.filter is not None and name != options.filter:
            continue
        metric = metric or metric_of(row, file, options)
        if metric not in row:
            raise UserError(
                f"{file}:{number} has no metric {metric}: choose metric= one of {', '.join(metrics_of(row))}"
            )
        if isinstance(row[metric], list | tuple | dict):
            raise UserError(
                f"{file}:{number}: {metric} is no number for each problem (a corpus metric is computed over all of "
                f"them at once): choose metric= another of {', '.join(metrics_of(row))}"
            )
        rows.append((number, name, str(row["doc_id"]), number_of(row[metric], f"{file}:{number}: {metric}"),
                     row.get("doc_hash"), row.get("prompt_hash")))  # fmt: skip
    chosen = choose(options.filter, sorted(filters), "filter", file)
    for number, name, identity, score, document, prompt in rows:
        if name == chosen:
            problem = prefix + identity
            results.samples.append(Sample(problem, score, 0, source=f"{file.name}:{number}"))
            hashes = {"document": document, "prompt": prompt}
            results.about.setdefault(problem, {k: str(v) for k, v in hashes.items() if v})
    if metric is not None:
        results.versions["metric"] = metric if len(filters) == 1 else f"{metric}, {chosen}"


def metrics_of(row: dict[str, Any]) -> list[str]:
    named = row.get("metrics")
    return [str(name) for name in named] if named else sorted(set(row) - FIXED)


def metric_of(row: dict[str, Any], file: Path, options: Options) -> str:
    return choose(options.metric, metrics_of(row), "metric", file)


def read_settings(file: Path, task: str, results: Results) -> None:
    """What the results file next to the samples says: versions of the task, examples, and a limit."""
    named = FILE_NAME.search(file.name)
    beside = file.parent / f"results_{named['time']}.json" if named else file
    if not named or not beside.is_file():
        return
    try:
        content = json.loads(beside.read_bytes())
    except ValueError:
        results.notes.append(f"{beside.name} is not JSON, so the settings of {task} are unknown")
        return
    for section, words in (("versions", results.versions), ("n-shot", results.conditions)):
        if task in (content.get(section) or {}):
            words[f"{task} {section}"] = str(content[section][task])
    counts = (content.get("n-samples") or {}).get(task) or {}
    if counts.get("effective") != counts.get("original"):
        results.notes.append(f"{task}: a limit took {counts['effective']} of {counts['original']} documents")
