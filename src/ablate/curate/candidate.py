"""A row that curation may keep: a problem, where its tests lie, and what it is compared by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ablate.sources.base import Row
from ablate.stored_tests import PackedTests, StoredTests
from ablate.types import Problem


@dataclass(frozen=True)
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
class Candidate:
    """A decoded row without its tests.

    Example: the row ``deepcoder/taco/7`` with ``tests=Place(...)`` in the file of its block. Rows with the same words
    have equal ``text_key``, and rows with the same tests have equal ``tests_key``.
    """

    id: str
    source: str
    config: str
    row: int
    split: str  # "train" | "test"
    problem: dict[str, Any]  # the fields of Problem, without its tests
    title: str | None
    references: tuple[str, ...]
    needs_reference: bool
    notes: tuple[str, ...]
    block: str  # name of the block in whose file the tests lie
    tests: Place
    other_tests: Place | None  # the other reading of TACO's function outputs
    text_key: str
    tests_key: str
    pair_keys: tuple[str, ...]  # of the tests with short inputs, to find shared examples
    signature: str  # MinHash, hexadecimal

    @property
    def statement(self) -> str:
        return self.problem["statement"]

    def described(self) -> dict[str, Any]:
        return asdict(self)

    def problem_with(self, tests: Sequence[Any], reference: str | None) -> Problem:
        return Problem(**{**self.problem, "reference": reference}, tests=tests)


@dataclass(frozen=True)
class Rejection:
    """A line of rejected.jsonl: the row and the reason why it is not in the training set."""

    source: str
    config: str
    row: int
    reason: str
    detail: str = ""


def read_candidate(described: dict[str, Any]) -> Candidate:
    """The inverse of ``Candidate.described``, from JSON."""
    other = described["other_tests"]
    lists = {name: tuple(described[name]) for name in ("references", "notes", "pair_keys")}
    places = {"tests": Place(**described["tests"]), "other_tests": None if other is None else Place(**other)}
    return Candidate(**{**described, **lists, **places})


def rejection(candidate: Candidate, reason: str, detail: str = "") -> Rejection:
    return Rejection(candidate.source, candidate.config, candidate.row, reason, detail)


def place_of(packed: PackedTests, offset: int) -> Place:
    return Place(offset, len(packed.blob), packed.num_tests, packed.num_bytes, packed.digest)


def problem_fields(row: Row) -> dict[str, Any]:
    """The fields of the row's problem without tests and reference, which are kept apart."""
    problem = replace(row, tests=(), references=()).problem()
    return {name: value for name, value in vars(problem).items() if name not in ("tests", "reference")}
