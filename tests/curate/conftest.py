"""One curation of the generated public sets, which several tests look at."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode leaves it out

from curate_support import configured, files_of

from ablate.curate.progress import Progress
from ablate.curate.run import curate


@dataclass(frozen=True)
class Curated:
    out: Path
    words: list[str]  # of the command, without out
    manifest: dict[str, Any]

    def rejected(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.out / "rejected.jsonl").read_text().splitlines()]

    def files(self) -> dict[str, bytes]:
        return files_of(self.out)


@pytest.fixture(scope="session")
def words(public_sets: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A command that uses every source, with limits for tests and verdicts that are kept from one run to the next."""
    sources = [f"source.{name}={directory}" for name, directory in public_sets.items()]
    cache = tmp_path_factory.mktemp("verdicts")
    return [
        *sources,
        "train.max_test_bytes=500000",
        "train.time_limit_s=4",
        "verify.time_limit_s=4",
        f"verify.cache_dir={cache}",
    ]


@pytest.fixture(scope="session")
def curated(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Curated:
    out = tmp_path_factory.mktemp("curated") / "set"
    return Curated(out, words, curate(configured(*words, f"out={out}"), "the command", None, Progress()))
