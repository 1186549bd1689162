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
from ablate.sources.choices import SOURCES
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
        """The facts that a decoded row depends on: the names of the configs, and not how many rows they have."""
        return {**asdict(self.facts), "rows": list(self.facts.rows)}


def find_inputs(config: CurateConfig) -> list[Input]:
    """Locate every source that is used, in the order of the table, and look at the first row of every config.

    Raises:
        UserError: as ``locate``, and for a directory of another data set: at once, not after the sources before it.
    """
    inputs = [Input(name, *locate(where, config.sources[name])) for name, where in config.used.items()]
    for each in inputs:
        for name in each.facts.rows:
            next(SOURCES[each.name].records(each.directory, name), None)
    return inputs


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


def data_files(directory: Path) -> dict[str, Path]:
    """The files of a source by relative path; hidden files are left out."""
    found = {path.relative_to(directory): path for path in sorted(directory.rglob("*")) if path.is_file()}
    return {str(name): path for name, path in found.items() if not any(part.startswith(".") for part in name.parts)}


def file_stamps(inputs: list[Input]) -> dict[str, list[int]]:
    """Size in bytes and time of change of every data file: cheap, and another where a file was replaced."""
    named = {f"{each.name}/{name}": path for each in inputs for name, path in data_files(each.directory).items()}
    files = {name: path.stat() for name, path in named.items() if path.name != FACTS}
    return {name: [status.st_size, status.st_mtime_ns] for name, status in files.items()}


def file_digests(inputs: list[Input], num_threads: int) -> dict[str, dict[str, dict[str, Any]]]:
    """Size and SHA-256 of every file of every source, by source and path."""
    paths = {(each.name, name): path for each in inputs for name, path in data_files(each.directory).items()}
    with ThreadPoolExecutor(num_threads) as pool:
        digests = list(pool.map(file_digest, paths.values()))
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for (name, relative), path, digest in zip(paths, paths.values(), digests, strict=True):
        found.setdefault(name, {})[relative] = {"bytes": path.stat().st_size, "sha256": digest}
    return found


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
