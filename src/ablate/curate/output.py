"""What curation leaves: two problem stores, the manifest, the rejected rows, the overlaps and the data card."""

from __future__ import annotations

import json
import platform
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ablate.curate.blocks import TESTS
from ablate.curate.candidate import Candidate, Rejection
from ablate.curate.card import data_card
from ablate.curate.filters import Selection
from ablate.curate.inputs import Input, file_digest, file_digests
from ablate.curate.overlap import overlap_report
from ablate.curate.settings import CurateConfig, EvaluationConfig
from ablate.curate.work import verdict_settings
from ablate.data.store import write_store
from ablate.files.stored_tests import PackedTests
from ablate.types import Problem

TRAIN, EVALUATION = "train", "eval"
MANIFEST = "manifest.json"


def write_output(
    out: Path,
    blocks: Path,
    config: CurateConfig,
    inputs: Sequence[Input],
    window: EvaluationConfig,
    selection: Selection,
    command: str,
) -> dict[str, Any]:
    """Write a whole data set into the new directory ``out`` and return its manifest; equal inputs give equal bytes."""
    for name, problems in ((TRAIN, selection.train), (EVALUATION, selection.evaluation)):
        (out / name).mkdir(parents=True)
        write_store(out / name, packed_problems(blocks, problems))
    write_lines(out / "rejected.jsonl", (asdict(each) for each in selection.rejections))
    (out / "overlaps.md").write_text("".join(overlap_report(selection.overlaps)), encoding="utf-8")
    manifest = {
        "command": command,
        "sources": described_sources(inputs, config.num_workers),
        "evaluation": asdict(window),
        "train": asdict(config.train),
        "references": asdict(config.references)
        | ({"verify": verdict_settings(config.verify)} if config.references.run else {}),
        "counts": counts_of(selection),
        "versions": {name: version(name) for name in ("pyarrow", "datasketch", "numpy")}
        | {"python": platform.python_version(), "zlib": zlib.ZLIB_RUNTIME_VERSION},
    }
    (out / "card.md").write_text(data_card(manifest, selection.train, selection.evaluation), encoding="utf-8")
    manifest["files"] = {
        str(path.relative_to(out)): file_digest(path) for path in sorted(out.rglob("*")) if path.is_file()
    }
    (out / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return manifest


def packed_problems(blocks: Path, problems: Sequence[Candidate]) -> Iterator[tuple[Problem, PackedTests]]:
    """Every problem with its packed tests, which are copied as they are; one problem in memory at a time."""
    for each in problems:
        with (blocks / f"{each.block}{TESTS}").open("rb") as file:
            file.seek(each.tests.offset)
            blob = file.read(each.tests.size)
        packed = PackedTests(blob, each.tests.num_tests, each.tests.num_bytes, each.tests.digest)
        yield each.details().problem_with((), each.references[0].text() if each.references else None), packed


def write_lines(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def described_sources(inputs: Sequence[Input], num_threads: int) -> dict[str, dict[str, Any]]:
    files = file_digests(list(inputs), num_threads)
    return {each.name: {**asdict(each.facts), "files": files[each.name]} for each in inputs}


def counts_of(selection: Selection) -> dict[str, Any]:
    """How many rows were read, kept, and rejected for each reason, over all and by config."""
    rejected: dict[str, Counter[str]] = defaultdict(Counter)
    for each in selection.rejections:
        rejected[f"{each.source}/{each.config}"][each.reason] += 1
    kept = [*selection.train, *selection.evaluation]
    return {
        "read": len(kept) + len(selection.rejections),
        "train": len(selection.train),
        "evaluation": len(selection.evaluation),
        "reasons": sorted_counts(Counter(each.reason for each in selection.rejections)),
        "by_config": {name: sorted_counts(counts) for name, counts in sorted(rejected.items())},
        "notes": sorted_counts(Counter(note for each in kept for note in each.notes)),
        "large_tests_dropped": sum(each.num_large_tests for each in selection.train),
        "verified_references": sum(bool(each.references) for each in selection.train),
    }


def sorted_counts(counts: Counter[str]) -> dict[str, int]:
    """Counts, largest first; ties in alphabetical order."""
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def in_order_of_rows(rejections: Sequence[Rejection], inputs: Sequence[Input]) -> list[Rejection]:
    """Rejections in the order of the data."""
    place = {(each.name, config): (a, b) for a, each in enumerate(inputs) for b, config in enumerate(each.facts.rows)}
    return sorted(rejections, key=lambda each: (*place[each.source, each.config], each.row))
