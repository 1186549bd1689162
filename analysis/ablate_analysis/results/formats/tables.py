"""CSV, JSON lines, a JSON list and parquet with named columns: ``columns.problem=task_id columns.passed=ok``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ablate.errors import UserError
from ablate.files.parquet import column_names, iterate_parquet
from ablate_analysis.results.files import csv_rows, first_line, json_lines, whole_json
from ablate_analysis.results.samples import Options, Results, Sample, number_of, whole_number

NAME = "table"
BATCH = 4096
# The names that are taken without a word, in this order; any other needs columns.<what>=NAME.
USUAL = {
    "problem": ("problem", "problem_id", "task_id", "question_id", "instance_id", "id"),
    "passed": ("passed", "correct", "is_correct", "score", "resolved"),
    "sample": ("sample", "sample_id", "sample_idx", "trial", "epoch"),
    "seed": ("seed", "run"),
    "finished": ("finished",),
    "tokens": ("tokens", "num_tokens"),
    "cluster": ("cluster",),
    "difficulty": ("difficulty",),
    "platform": ("platform",),
    "month": ("month",),
}
FACTS = ("cluster", "difficulty", "platform", "month")
TRUE, FALSE = ("true", "1", "1.0", "yes", "pass", "passed"), ("false", "0", "0.0", "no", "fail", "failed")
NOTHING = ("", "nan", "none", "null")


def matches(path: Path) -> bool:
    return path.is_file() and (path.suffix in (".csv", ".jsonl", ".parquet") or bool(list_of(path)))


def list_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON file that holds a list of objects; empty for any other file."""
    content = whole_json(path) if path.suffix == ".json" else None
    is_table = isinstance(content, list) and all(isinstance(row, dict) for row in content)
    return content if is_table else []


def names_of(path: Path) -> list[str]:
    if path.suffix == ".parquet":
        return column_names(path)
    if path.suffix == ".csv":
        return list(next(csv_rows(path), (0, {}))[1])
    return list(next(iter(list_of(path)), {}) if path.suffix == ".json" else first_line(path))


def rows_of(path: Path, columns: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    if path.suffix == ".parquet":
        return enumerate(iterate_parquet(path, columns, BATCH), 1)
    if path.suffix == ".json":
        return enumerate(list_of(path))
    return csv_rows(path) if path.suffix == ".csv" else json_lines(path)


def read(path: Path, options: Options) -> Results:
    names = names_of(path)
    columns = find_columns(path, names, options)
    results = Results(NAME)
    num_texts = 0
    for number, row in rows_of(path, list(columns.values())):
        where = f"{path}:{number}"
        values = {what: row.get(name) for what, name in columns.items()}
        if values["problem"] is None or values["problem"] == "":
            raise UserError(f"{where} has no {columns['problem']}: every row needs the id of its problem")
        problem = str(values["problem"])
        score, was_text = read_value(values["passed"], f"{where}: {columns['passed']}")
        finished, _ = read_value(values.get("finished"), f"{where}: {columns.get('finished')}")
        num_texts += was_text and path.suffix != ".csv"
        results.samples.append(
            Sample(
                problem,
                score,
                whole(values.get("sample")),
                "" if values.get("seed") is None else str(values["seed"]),
                None if finished is None else bool(finished),
                whole(values.get("tokens")),
                f"{path.name}:{number}",
            )
        )
        facts = {what: str(values[what]) for what in FACTS if values.get(what) not in (None, "")}
        if facts:
            results.about.setdefault(problem, facts)
    results.note_count(num_texts, f"values of {columns['passed']} are texts, read as true and false")
    return results


def find_columns(path: Path, names: list[str], options: Options) -> dict[str, str]:
    unknown = sorted(set(options.columns) - set(USUAL))
    if unknown:
        raise UserError(f"columns.{unknown[0]}= is unknown: use columns.{', columns.'.join(USUAL)}")
    columns = {}
    for what, usual in USUAL.items():
        wanted = options.columns.get(what)
        if wanted is not None and wanted not in names:
            raise UserError(f"columns.{what}={wanted}: {path} has no such column: choose one of {', '.join(names)}")
        name = wanted or next((each for each in usual if each in names), None)
        if name is not None:
            columns[what] = name
    for what in ("problem", "passed"):
        if what not in columns:
            raise UserError(
                f"{path} has no column {what}: say which one it is with columns.{what}= one of "
                f"{', '.join(names[:20]) or 'none (the file has no row)'}"
            )
    return columns


def read_value(value: Any, where: str) -> tuple[float | None, bool]:
    """A truth or a number, also as a text such as "True"; and whether it was a text."""
    if not isinstance(value, str):
        return number_of(value, where), False
    word = value.strip().lower()
    if word in NOTHING:
        return None, True
    if word in TRUE or word in FALSE:
        return float(word in TRUE), True
    try:
        return number_of(float(word), where), True
    except ValueError:
        raise UserError(f"{where} is {value[:40]!r}: write true, false or a number there") from None


def whole(value: Any) -> int | None:
    if isinstance(value, str):
        value = float(value) if value.strip().replace(".", "", 1).isdigit() else None
    return whole_number(value)
