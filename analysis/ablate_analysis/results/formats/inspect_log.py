"""Inspect AI: an ``.eval`` archive, or the same log as one ``.json``."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ablate.errors import UserError
from ablate_analysis.results.files import whole_json
from ablate_analysis.results.samples import Options, Results, Sample, choose, number_of, whole_number

NAME = "inspect"
LETTERS = {"C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0}  # correct, incorrect, partial, no answer
UNFINISHED = ("max_tokens", "model_length")


def matches(path: Path) -> bool:
    if path.suffix == ".eval":
        return True
    content = whole_json(path) if path.suffix == ".json" and path.is_file() else None
    return isinstance(content, dict) and isinstance(content.get("eval"), dict) and "task" in content["eval"]


def read(path: Path, options: Options) -> Results:
    header, samples = read_archive(path) if path.suffix == ".eval" else read_json(path)
    results = Results(NAME)
    if header.get("status") != "success":
        results.notes.append(f"the log's status is {header.get('status')}: the evaluation did not finish")
    about = header.get("eval") or {}
    if about.get("task"):
        results.versions["task"] = str(about["task"])
    if about.get("task_version"):
        results.conditions["task version"] = str(about["task_version"])
    num_errors = 0
    for row in samples:
        name, epoch = str(row["id"]), int(row.get("epoch") or 1)
        where = f"{path}: sample {name}, epoch {epoch}"
        scores = row.get("scores") or {}
        failed = row.get("error") is not None or not scores or bool(row.get("invalidation"))
        num_errors += failed
        score = None if failed else score_of(scores, options.metric, where)
        results.samples.append(
            Sample(
                name, score, epoch - 1, finished=finished_of(row), tokens=tokens_of(row), source=f"{name}_epoch_{epoch}"
            )
        )
    results.note_count(num_errors, "samples ended in an error or without a score and have no verdict")
    return results


def read_json(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    content = whole_json(path)
    return content, content.get("samples") or []


def read_archive(path: Path) -> tuple[dict[str, Any], Iterator[dict[str, Any]] | list[dict[str, Any]]]:
    """The header and the samples; the short summaries do where the archive has no samples."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            header = json.loads(archive.read("header.json")) if "header.json" in names else {"status": "started"}
            members = sorted(name for name in names if name.startswith("samples/") and name.endswith(".json"))
            if members:
                samples = [kept_fields(json.loads(archive.read(name))) for name in members]
            else:
                samples = json.loads(archive.read("summaries.json")) if "summaries.json" in names else []
            return header, samples
    except NotImplementedError:
        raise UserError(
            f"{path} is compressed with zstd, which Python's zipfile reads from 3.14 on: convert it with "
            f"inspect log convert {path} --to json --output-dir DIR"
        ) from None
    except (zipfile.BadZipFile, ValueError) as error:
        raise UserError(f"{path} is not a readable .eval archive ({error}): is it complete?") from None


def kept_fields(row: dict[str, Any]) -> dict[str, Any]:
    """Of a sample what is needed: its messages and events may be large."""
    output = row.get("output") or {}
    kept = {name: row.get(name) for name in ("id", "epoch", "scores", "error", "invalidation", "limit", "model_usage")}
    choices = [{"stop_reason": choice.get("stop_reason")} for choice in output.get("choices") or ()]
    return {**kept, "output": {"choices": choices}}


def score_of(scores: dict[str, Any], metric: str | None, where: str) -> float | None:
    """The value of the chosen scorer; ``metric=SCORER.KEY`` takes one of several values of a scorer."""
    scorer, _, key = (metric or "").partition(".")
    chosen = choose(scorer or None, sorted(scores), "metric", where)
    value = (
        scores[chosen]["value"] if isinstance(scores[chosen], dict) and "value" in scores[chosen] else scores[chosen]
    )
    if isinstance(value, dict):
        return score_text(value[choose(key or None, sorted(value), f"metric={chosen}.", where)], where)
    return score_text(value, where)


def score_text(value: Any, where: str) -> float | None:
    return LETTERS[value] if isinstance(value, str) and value in LETTERS else number_of(value, where)


def finished_of(row: dict[str, Any]) -> bool | None:
    if row.get("limit"):
        return False
    choices = (row.get("output") or {}).get("choices") or []
    reason = choices[0].get("stop_reason") if choices else None
    return None if reason is None else reason not in UNFINISHED


def tokens_of(row: dict[str, Any]) -> int | None:
    usage = row.get("model_usage") or {}
    counts = [whole_number((each or {}).get("output_tokens")) for each in usage.values()]
    return sum(count or 0 for count in counts) if counts else None
