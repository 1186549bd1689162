"""EvalPlus: ``eval_results.json`` of HumanEval+ and MBPP+, and EvalPerf's ``*_evalperf_results.brief.json``.

BigCodeBench writes the same file with one ``status`` a sample.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ablate.errors import UserError
from ablate_analysis.results.files import whole_json
from ablate_analysis.results.samples import Options, Results, Sample, number_of

NAME = "evalplus"
PASSED = ("pass", "success")  # "success" until version 0.1


def matches(path: Path) -> bool:
    if path.is_dir():
        return bool(result_files(path))
    return path.suffix == ".json" and isinstance(content := whole_json(path), dict) and is_results(content)


def is_results(content: dict[str, Any]) -> bool:
    return isinstance(content.get("eval"), dict) and ({"hash", "pass_at_k", "date", "config"} & set(content)) != set()


def result_files(path: Path) -> list[Path]:
    return sorted({*path.glob("*eval_results.json")})


def read(path: Path, options: Options) -> Results:
    if path.is_dir():
        files = result_files(path)
        if len(files) > 1:
            raise UserError(f"{path} holds {len(files)} files of results: name one, such as {files[0]}")
        path = files[0]
    content = whole_json(path)
    if options.metric not in (None, "base", "plus"):
        raise UserError(f"{path} has no metric {options.metric}: choose metric=plus (the default) or metric=base")
    entries = content["eval"]
    if "config" in content and any("pass@1" in entry for entry in entries.values() if isinstance(entry, dict)):
        return read_evalperf(path, content)
    statuses = {name: statuses_of(entry, f"{path}: {name}") for name, entry in entries.items()}
    has_plus = any(plus is not None for rows in statuses.values() for _, plus in rows)
    metric = options.metric or ("plus" if has_plus else "base")
    if metric == "plus" and not has_plus:
        raise UserError(f"{path} has the results of one set of tests, and no metric plus: choose metric=base")
    results = Results(NAME, versions={"tests": metric})
    if content.get("hash"):
        results.versions["data set (hash)"] = str(content["hash"])
    for name, rows in statuses.items():
        for number, (base, plus) in enumerate(rows):
            score = verdict(base, plus, metric)
            results.samples.append(Sample(name, score, number, source=f"{path.name}:eval.{name}[{number}]"))
    return results


def statuses_of(entry: Any, where: str) -> list[tuple[str | None, str | None]]:
    """(base status, plus status) of every sample; in version 0.1 an entry was a dict of lists of [status, details]."""
    if isinstance(entry, list):
        pairs = [(row.get("base_status", row.get("status")), row.get("plus_status")) for row in entry]
    else:
        base, plus = entry.get("base") or [], entry.get("plus") or []
        plus = plus or [[None]] * len(base)
        pairs = [(one[0], other[0]) for one, other in zip(base, plus, strict=True)]
    for pair in pairs:
        for status in pair:
            if status is not None and not isinstance(status, str):
                raise UserError(f"{where}: status {status!r} is not a text such as pass or fail: is the file damaged?")
    return pairs


def verdict(base: str | None, plus: str | None, metric: str) -> float | None:
    """Passing HumanEval+ or MBPP+ means to pass the base tests **and** the added ones."""
    needed = (base,) if metric == "base" else (base, plus)
    if any(status is None for status in needed):
        return None if base in (None, *PASSED) else 0.0
    return float(all(status in PASSED for status in needed))


def read_evalperf(path: Path, content: dict[str, Any]) -> Results:
    """Pass@1 in percent of ``config.n_samples`` for each problem."""
    num_samples = int(content["config"]["n_samples"])
    results = Results(NAME)
    for name, entry in content["eval"].items():
        share = number_of(entry.get("pass@1"), f"{path}: pass@1 of {name}")
        if share is None:
            continue
        num_passed = round(share / 100 * num_samples)
        for number in range(num_samples):
            results.samples.append(Sample(name, float(number < num_passed), number, source=f"{path.name}:eval.{name}"))
    results.notes.append(f"each problem's number of passed samples is its share times n_samples={num_samples}")
    return results
