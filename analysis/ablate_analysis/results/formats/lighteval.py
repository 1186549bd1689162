"""lighteval: ``details_<task>_<time>.parquet``, or the directory that holds them. Verdicts of samples are not kept."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ablate.errors import UserError
from ablate.files.parquet import column_names, iterate_parquet
from ablate_analysis.results.samples import Options, Results, Sample, choose, number_of

NAME = "lighteval"
BATCH = 64
FILE_NAME = re.compile(r"details_(?P<task>.+)_(?P<time>\d{4}-\d\d-\d\dT[\d.:\-]+)\.parquet$")


def matches(path: Path) -> bool:
    if path.is_dir():
        return any(path.glob("details_*.parquet"))
    return (
        path.suffix == ".parquet"
        and bool({"metric", "metrics"} & set(column_names(path)))
        and (bool({"doc", "example", "full_prompt"} & set(column_names(path))))
    )


def read(path: Path, options: Options) -> Results:
    results = Results(NAME)
    files: dict[str, Path] = {}
    for file in [path] if path.is_file() else sorted(path.glob("details_*.parquet")):
        named = FILE_NAME.search(file.name)
        files[named["task"] if named else file.stem] = file  # of several times the newest stays
    if options.task is not None and path.is_dir():
        files = {(task := choose(options.task, sorted(files), "task", path)): files[task]}
    for task, file in files.items():
        read_file(file, f"{task}/" if len(files) > 1 else "", options, results)
    return results


def read_file(file: Path, prefix: str, options: Options, results: Results) -> None:
    names = column_names(file)
    is_flat = "doc" not in names  # until June 2025
    columns = [
        name for name in ("doc", "metric", "model_response", "metrics", "predictions", "example") if name in names
    ]
    for index, row in enumerate(iterate_parquet(file, columns, BATCH)):
        metrics = {k: v for k, v in (row.get("metric") or row.get("metrics") or {}).items() if v is not None}
        metric = choose(options.metric, sorted(metrics), "metric", file)
        score = number_of(metrics[metric], f"{file}: row {index}: {metric}")
        identity = str(index) if is_flat else str((row["doc"] or {}).get("id", index))
        response = row.get("model_response") or {}
        texts = row.get("predictions") if is_flat else response.get("text")
        add(results, prefix + identity, score, len(texts or ()), lengths(response), metric, f"{file.name}[{index}]")
        results.versions["metric"] = metric
    if is_flat:
        results.notes.append("this older file has no ids: problems are paired by their place")


def lengths(response: dict[str, Any]) -> list[int]:
    """Tokens of every sample, where they were kept."""
    tokens = response.get("output_tokens") or []
    return [len(each) for each in tokens] if all(isinstance(each, list) for each in tokens) else []


def add(
    results: Results, problem: str, score: float | None, count: int, tokens: list[int], metric: str, source: str
) -> None:
    """A problem's score over n samples becomes n samples, ``round(n x score)`` of them passed, where that is exact."""
    num_passed = round((score or 0.0) * count)
    is_count = "pass@1" in metric and score is not None and count > 0 and abs(num_passed - score * count) < 1e-4
    if not is_count and (k := re.search(r"pass@(\d+)", metric)) and int(k[1]) > 1:
        raise UserError(f"metric={metric} is a pass@k above 1, from which counts do not follow: choose a pass@1")
    if count <= 1 or not is_count:
        results.samples.append(Sample(problem, score, 0, tokens=tokens[0] if tokens else None, source=source))
        results.has_samples &= count <= 1
        return
    lengths_known = tokens if len(tokens) == count else [None] * count
    for number, length in enumerate(lengths_known):
        results.samples.append(Sample(problem, float(number < num_passed), number, tokens=length, source=source))
