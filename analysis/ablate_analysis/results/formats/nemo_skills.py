"""NeMo-Skills: ``<benchmark>/output-rs<seed>.jsonl``, one sample a problem in each file; greedy: ``output.jsonl``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ablate.errors import UserError
from ablate_analysis.results.files import first_line, json_lines
from ablate_analysis.results.samples import Options, Results, Sample, number_of, whole_number

NAME = "nemo-skills"
FILE = re.compile(r"output(-rs(\d+))?\.jsonl")  # not _chunk_<i> and -async, which are parts
PROBLEM = ("question_id", "task_id", "instance_id", "id", "problem")
VERDICT = ("graded_list", "is_correct-plus", "is_correct", "symbolic_correct", "judge_correct")


def matches(path: Path) -> bool:
    files = outputs(path)
    return bool(files) and any(name in first_line(files[0]) for name in VERDICT)


def outputs(path: Path) -> list[Path]:
    files = sorted(path.glob("output*.jsonl")) if path.is_dir() else [path]
    return [file for file in files if FILE.fullmatch(file.name)]


def read(path: Path, options: Options) -> Results:
    results = Results(NAME)
    for place, file in enumerate(outputs(path)):
        names = list(first_line(file))
        problem = next((name for name in PROBLEM if name in names), None)
        verdict = options.metric or next((name for name in VERDICT if name in names), None)
        if problem is None or verdict not in names:
            raise UserError(f"{file} has no {verdict or 'verdict'} for each problem: choose metric= one of its keys")
        results.versions["metric"] = verdict
        for line, row in json_lines(file):
            results.samples.append(
                Sample(
                    str(row[problem]),
                    number_of(first_of(row.get(verdict)), f"{file}:{line}: {verdict}"),
                    int(FILE.fullmatch(file.name)[2] or place),
                    tokens=whole_number(row.get("num_generated_tokens")),
                    source=f"{file.name}:{line}",
                )
            )
    return results


def first_of(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else value
