"""TRL: ``completions_<step>.parquet`` of ``log_completions``, or the directory that holds them: training rollouts."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

from ablate.files.parquet import column_names, iterate_parquet
from ablate_analysis.results.samples import Options, Results, Sample, choose, number_of

NAME = "trl"
BATCH = 1024
FIXED = {"step", "prompt", "completion", "advantage"}


def matches(path: Path) -> bool:
    if path.is_dir():
        return any(path.glob("completions_*.parquet"))
    return path.suffix == ".parquet" and {"prompt", "completion", "advantage"} <= set(column_names(path))


def read(path: Path, options: Options) -> Results:
    results = Results(NAME)
    if path.is_dir():
        files = {
            file.stem.removeprefix("completions_").lstrip("0") or "0": file
            for file in path.glob("completions_*.parquet")
        }
        steps = sorted(files, key=int)
        step = choose(
            None if options.step is None else str(options.step),
            steps[-1:] if options.step is None else steps,
            "step",
            path,
        )
        if options.step is None and len(files) > 1:
            results.notes.append(f"step {step} was read, the last of {len(files)}")
        path = files[step]
    rewards = [name for name in column_names(path) if name not in FIXED]
    metric = choose(options.metric, rewards, "metric", path)
    order: Counter[str] = Counter()
    for index, row in enumerate(iterate_parquet(path, ["prompt", metric], BATCH)):
        problem = hashlib.sha256(json.dumps(row["prompt"], sort_keys=True, default=str).encode()).hexdigest()[:16]
        score = number_of(row[metric], f"{path}: row {index}: {metric}")
        results.samples.append(Sample(problem, score, order[problem], source=f"{path.name}[{index}]"))
        order[problem] += 1
    results.versions["reward"] = metric
    results.notes.append("these are training rollouts, and a problem is its prompt")
    return results
