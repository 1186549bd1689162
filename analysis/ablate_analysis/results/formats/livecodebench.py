"""LiveCodeBench: ``*_eval_all.json``, ``*_eval.json`` and the leaderboard's ``performances``."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from ablate.errors import UserError
from ablate_analysis.results.files import whole_json
from ablate_analysis.results.samples import Options, Results, Sample, choose, number_of, refuse_totals

NAME = "livecodebench"
GRADER_FAILED = -5  # "error of the test runner"; a global timeout ends as this code too


def matches(path: Path) -> bool:
    if path.suffix != ".json" or not path.is_file():
        return False
    content = whole_json(path)
    if isinstance(content, dict):
        return "performances" in content or {"pass_at_1", "total_problems"} & set(content) != set()
    if not isinstance(content, list) or not content:
        return False
    if is_eval_list(content):
        return True
    first = content[0]
    return isinstance(first, dict) and "question_id" in first and bool({"graded_list", "pass@1", "pass1"} & set(first))


def is_eval_list(content: list[Any]) -> bool:
    """Whether this is the list of three (totals, results by position, metadata) of ``*_eval.json``."""
    if len(content) < 2 or not all(isinstance(each, dict) for each in content[:2]):
        return False
    return "pass@1" in content[0] and "question_id" not in content[0]


def read(path: Path, options: Options) -> Results:
    content = whole_json(path)
    if isinstance(content, dict):
        if "performances" not in content:
            raise refuse_totals(path)
        return read_leaderboard(path, content["performances"], options)
    return read_by_position(path, content[1]) if is_eval_list(content) else read_all(path, content)


def read_all(path: Path, rows: list[dict[str, Any]]) -> Results:
    """One dict a problem: ``graded_list`` holds a verdict for each sample."""
    results = Results(NAME)
    num_grader, num_empty = 0, 0
    for index, row in enumerate(rows):
        name = str(row["question_id"])
        if "graded_list" not in row:
            raise refuse_totals(path, "no graded_list, so no verdicts of samples,")
        graded = row["graded_list"]
        where = f"{path}: graded_list of {name}"
        for number, verdict in enumerate(graded):
            if not isinstance(verdict, bool):
                raise UserError(
                    f"{where}: sample {number} is {verdict!r} and not true or false: write the verdict there"
                )
            results.samples.append(
                Sample(name, float(verdict), number, source=f"{path.name}[{index}].graded_list[{number}]")
            )
        shown = row.get("pass@1", row.get("pass1"))
        if graded and isinstance(shown, int | float) and abs(sum(graded) / len(graded) - shown) > 1e-6:
            results.notes.append(f"{name}: pass@1 says {shown:g}, its graded_list says {sum(graded) / len(graded):g}")
        num_grader += sum(error_code(text) == GRADER_FAILED for text in row.get("metadata") or ())
        num_empty += sum(not str(code or "").strip() for code in row.get("code_list") or ())
        results.about[name] = about(row)
    results.note_count(num_grader, f"samples failed with code {GRADER_FAILED}, which may be the grader's fault")
    results.note_count(num_empty, "samples have no code; often their answer was cut off, but nothing here says so")
    return results


def about(row: dict[str, Any]) -> dict[str, str]:
    facts = {"difficulty": row.get("difficulty"), "platform": row.get("platform")}
    facts["month"] = str(row.get("contest_date") or "")[:7]
    return {name: str(value) for name, value in facts.items() if value}


def error_code(text: Any) -> int | None:
    """The code in a sample's metadata, which is JSON inside a text."""
    try:
        values = json.loads(text) if isinstance(text, str) else text
    except ValueError:
        return None
    return values.get("error_code") if isinstance(values, dict) else None


def read_by_position(path: Path, by_position: dict[str, list[list[Any]]]) -> Results:
    """``{"0": [[true, -2], ...]}``: a list for each sample, with one entry a test until the first failure."""
    results = Results(NAME)
    results.notes.append("problems have no ids here, only places: both files must come from the same list of problems")
    results.conditions["ids"] = "places in a list"
    for place, samples in by_position.items():
        for number, tests in enumerate(samples):
            where = f"{path}: result {number} of problem {place}"
            values = [number_of(test, where) or 0.0 for test in tests]
            score = float(all(value > 0 for value in values)) if values else None
            results.samples.append(Sample(f"place {place}", score, number, source=f"{path.name}[1].{place}[{number}]"))
    return results


def read_leaderboard(path: Path, rows: list[dict[str, Any]], options: Options) -> Results:
    """One row a problem and model: Pass@1 in percent, without samples. Rows that share an id are a cluster."""
    models = sorted({str(row["model"]) for row in rows})
    model = choose(options.model, models, "model", path)
    results = Results(NAME, has_samples=False)
    chosen = [row for row in rows if str(row["model"]) == model]
    keys = sorted(name for name in chosen[0] if name.lower().startswith("pass@1"))
    key = choose(options.metric, keys, "metric", path)
    share = Counter(str(row["question_id"]) for row in chosen)
    seen: Counter[str] = Counter()
    num_missing = 0
    for row in chosen:
        identity = str(row["question_id"])
        name = f"{identity}#{seen[identity]}" if share[identity] > 1 else identity
        seen[identity] += 1
        score = number_of(row.get(key), f"{path}: {key} of {identity}")
        if score is None or score < 0:  # -1: not run
            num_missing += 1
            continue
        results.samples.append(Sample(name, score / 100, 0, source=f"{path.name}:{model}/{identity}"))
        results.about[name] = {**about(row), "cluster": identity}
    results.note_count(num_missing, "rows were not run")
    results.notes.append("this file has each problem's mean and no samples: no pass@k above 1")
    return results
