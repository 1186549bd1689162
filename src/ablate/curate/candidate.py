"""A row that curation may keep: what decides about it is in memory, its texts and tests are on disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from sys import intern
from typing import Any

from ablate.files.stored_tests import PackedTests, StoredTests
from ablate.sources.base import Row
from ablate.types import Checker, Problem


@dataclass(frozen=True, slots=True)
class Place:
    """Packed tests in the file of a block.

    Example: ``Place(offset=0, size=26, num_tests=1, num_bytes=18, digest="5a…")``
    """

    offset: int
    size: int
    num_tests: int
    num_bytes: int
    digest: str

    def stored(self, path: str) -> StoredTests:
        return StoredTests(path, self.offset, self.size, self.num_tests, self.digest)


@dataclass(frozen=True)
class Details:
    """The texts of a candidate, which are read from its block each time that they are needed.

    Example: ``Details(problem={"id": "deepcoder/taco/7", ...}, title=None, references=("print(1)",), pair_keys=(),
    wrong=(), sketch={})``
    """

    problem: dict[str, Any]  # the fields of Problem, without its tests
    title: str | None
    references: tuple[str, ...]
    pair_keys: tuple[str, ...]  # of the tests with short inputs, to find shared examples
    wrong: tuple[str, ...]  # programs that the source calls wrong
    sketch: dict[str, str]  # hashes of inputs and of their outputs: ``tests.sketch_of``

    @property
    def statement(self) -> str:
        return self.problem["statement"]

    @property
    def checker(self) -> Checker | None:
        text = self.problem.get("checker")
        return text and Checker.from_json(text)

    def problem_with(self, tests: Sequence[Any], reference: str | None) -> Problem:
        return Problem(**{**self.problem, "reference": reference, "checker": self.checker}, tests=tests)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a block: bytes ``offset`` to ``offset + size`` of the file at ``path``."""

    path: str
    offset: int
    size: int

    def details(self) -> Details:
        with Path(self.path).open("rb") as file:
            file.seek(self.offset)
            described = json.loads(file.read(self.size))["details"]
        return Details(**{name: tuple(each) if isinstance(each, list) else each for name, each in described.items()})


@dataclass(frozen=True, slots=True)
class Reference:
    """A program that a data set calls a solution of a problem: one of the references of a line."""

    line: Line
    index: int

    def text(self) -> str:
        return self.line.details().references[self.index]


@dataclass(frozen=True, slots=True)
class Candidate:
    """What the filters compare, about a kilobyte a row.

    Example: the row ``deepcoder/taco/7`` with ``tests=Place(...)`` in the file of its block. Rows with the same words
    have equal ``text_key``, and rows with the same tests have equal ``tests_key``.
    """

    id: str
    source: str
    config: str
    row: int
    split: str  # "train" | "test"
    kind: str  # "stdin" | "functional"
    date: str | None
    needs_reference: bool
    notes: tuple[str, ...]
    block: str  # name of the block in whose file the tests lie
    tests: Place
    other_tests: Place | None  # the other reading of TACO's function outputs
    text_key: str
    marks_key: str  # of the numbers and operators of the statement
    tests_key: str
    signature: bytes  # MinHash of the statement
    probes: tuple[str, ...]  # hashes of a few tests, by which rows with the same tests find each other
    num_large_tests: int  # that were dropped
    has_checker: bool
    fault: tuple[str, str] | None  # reason and detail of a statement that no list of tests can judge
    references: tuple[Reference, ...]
    line: Line

    def details(self) -> Details:
        return self.line.details()

    def reference_texts(self) -> list[str]:
        return [each.text() for each in self.references]


def read_candidate(entry: dict[str, Any], line: Line) -> Candidate:
    """Return the candidate of a line: ``entry`` holds its fields, and the details, of which only places are kept."""
    facts = entry["candidate"]
    words = {name: intern(facts[name]) for name in ("source", "config", "split", "kind", "block")}
    other, fault = facts["other_tests"], facts["fault"]
    read = {
        "notes": tuple(facts["notes"]),
        "probes": tuple(map(intern, facts["probes"])),
        "tests": Place(**facts["tests"]),
        "other_tests": None if other is None else Place(**other),
        "signature": bytes.fromhex(facts["signature"]),
        "fault": None if fault is None else tuple(fault),
        "references": tuple(Reference(line, index) for index in range(len(entry["details"]["references"]))),
    }
    return Candidate(**{**facts, **words, **read}, line=line)


@dataclass(frozen=True)
class Rejection:
    """A line of rejected.jsonl: the row and the reason why it is not in the training set."""

    source: str
    config: str
    row: int
    reason: str
    detail: str = ""


def rejection(candidate: Candidate, reason: str, detail: str = "") -> Rejection:
    return Rejection(candidate.source, candidate.config, candidate.row, reason, detail)


def place_of(packed: PackedTests, offset: int) -> Place:
    return Place(offset, len(packed.blob), packed.num_tests, packed.num_bytes, packed.digest)


def problem_fields(row: Row) -> dict[str, Any]:
    """The fields of the row's problem without tests and reference, which are kept apart."""
    problem = replace(row, tests=(), references=()).problem()
    values = {name: value for name, value in vars(problem).items() if name not in ("tests", "reference")}
    return values | {"checker": row.checker and row.checker.to_json()}
