"""SkyRL: ``dumped_evals/global_step_<n>_evals/<data source>.jsonl``; a score is a number, or one number a token."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from ablate_analysis.results.files import first_line, json_lines
from ablate_analysis.results.samples import Options, Results, Sample, number_of

NAME = "skyrl"
UNFINISHED = "length"


def matches(path: Path) -> bool:
    row = first_line(path) if path.suffix == ".jsonl" and path.is_file() else {}
    return {"input_prompt", "score"} <= set(row)


def read(path: Path, options: Options) -> Results:
    results, order = Results(NAME), Counter()
    for line, row in json_lines(path):
        score = row["score"]
        parts = score if isinstance(score, list) else [score]
        values = [number_of(part, f"{path}:{line}: score") for part in parts]
        total = None if None in values else sum(values)
        problem, reason = str(row["input_prompt"]), row.get("stop_reason")
        finished = None if reason is None else reason != UNFINISHED
        source = f"{path.name}:{line}"
        results.samples.append(Sample(problem, total, order[problem], finished=finished, source=source))
        order[problem] += 1
    return results
