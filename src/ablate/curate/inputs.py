"""The downloaded data sets: where they stand, which revision they are, and the digest of every file."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ablate.curate.settings import EVALUATION_SOURCE, CurateConfig, EvaluationConfig
from ablate.errors import UserError
from ablate.sources.base import SourceConfig
from ablate.sources.hub import FACTS, locate


@dataclass(frozen=True)
class Input:
    """One source: its directory and its facts.

    Example: ``Input("deepcoder", Path("downloads/deepcoder"), facts)``
    """

    name: str
    directory: Path
    facts: SourceConfig

    def described(self) -> dict[str, Any]:
        return {"source": self.name, **asdict(self.facts)}


def find_inputs(config: CurateConfig) -> list[Input]:
    """Locate every source that is used, in the order of the table; raises ``UserError`` as ``locate``."""
    return [Input(name, *locate(where, config.sources[name])) for name, where in config.used.items()]


def window_of(inputs: list[Input], evaluation: EvaluationConfig) -> EvaluationConfig:
    """The window of the evaluation set; a set that was made here states its own in source.json."""
    directory = next(each.directory for each in inputs if each.name == EVALUATION_SOURCE)
    if not (directory / FACTS).is_file():
        return evaluation
    own = json.loads((directory / FACTS).read_text(encoding="utf-8")).get("window", {})
    unknown = set(own) - {"first", "last", "rows"}
    if unknown:
        raise UserError(f"{directory / FACTS}: window.{min(unknown)} is unknown: use first, last and rows")
    return replace(evaluation, **own)


def file_digests(inputs: list[Input], num_threads: int) -> dict[str, dict[str, dict[str, Any]]]:
    """Size and SHA-256 of every file of every source, by source and path; hidden files are left out."""
    paths = {
        (each.name, str(path.relative_to(each.directory))): path
        for each in inputs
        for path in sorted(each.directory.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(each.directory).parts)
    }
    with ThreadPoolExecutor(num_threads) as pool:
        digests = list(pool.map(file_digest, paths.values()))
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for (name, relative), path, digest in zip(paths, paths.values(), digests, strict=True):
        found.setdefault(name, {})[relative] = {"bytes": path.stat().st_size, "sha256": digest}
    return found


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
