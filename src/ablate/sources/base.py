"""What every source yields: a row that is ready to use, or a rejected row with its reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from omegaconf import MISSING

from ablate.errors import UserError
from ablate.sources.literals import check_unicode
from ablate.sources.reasons import Reason, Refused
from ablate.sources.tolerance import tolerance_of
from ablate.types import Checker, Problem, TestCase


@dataclass(frozen=True)
class RawRow:
    """One row as it stands in the file: ``fields`` are the columns that the source asked for."""

    source: str
    config: str
    row: int
    license: str | None
    fields: dict[str, Any]
    float_tolerance: float | None = None  # of the source

    def text(self, name: str) -> str:
        """Return a column that must be text.

        Raises:
            Refused: when it is missing or not text, or when UTF-8 cannot hold it.
        """
        value = self.fields.get(name)
        if not isinstance(value, str):
            raise Refused(Reason.bad_column, f"{name} is {type(value).__name__}, not text")
        return check_unicode(value)

    def optional_text(self, name: str) -> str | None:
        """Return a column that is text, or None where it is absent, null or blank."""
        return None if self.fields.get(name) is None else self.text(name).strip() or None


@dataclass(frozen=True)
class Row:
    """One problem that its source could decode.

    Tests have one encoding whatever the source: ``input`` is standard input, or one JSON value per argument and line;
    ``output`` is what to print, or one JSON value.

    Example:
        ``Row(id="deepcoder/taco/7", source="deepcoder", config="taco", row=7, statement="Add two numbers.",
        kind="functional", tests=(TestCase("1\\n2", "3"),), fn_name="add")``
    """

    id: str
    source: str
    config: str
    row: int  # counted from 0 within the config
    statement: str
    kind: str  # "stdin" | "functional" | "file"
    tests: tuple[TestCase, ...]
    fn_name: str | None = None
    starter_code: str | None = None  # of a function problem: its stub, published or made from the number of arguments
    references: tuple[str, ...] = ()  # programs that the source calls correct; not run here
    # TACO publishes the value v of a function test as v or as [v] and does not say which. Such a row needs a reference
    # that passes either ``tests`` (v was meant) or ``other_tests`` ([v] was meant), and not both.
    needs_reference: bool = False
    other_tests: tuple[TestCase, ...] = ()
    split: str = "train"  # "train" | "test": rows of a test split are never trained on
    platform: str | None = None
    date: str | None = None  # YYYY-MM-DD of the contest
    difficulty: str | None = None
    title: str | None = None
    license: str | None = None
    float_tolerance: float | None = None
    time_limit_s: float | None = None
    memory_limit_mib: int | None = None
    checker: Checker | None = None
    wrong: tuple[str, ...] = ()  # programs that the source calls wrong
    rating: int | None = None
    tags: tuple[str, ...] = ()
    num_examples: int | None = None
    notes: tuple[str, ...] = ()  # peculiarities that curation counts: "no_private_tests", "unreadable_reference"

    def problem(self) -> Problem:
        """Return the problem that the trainer and the evaluation use."""
        return Problem(
            id=self.id,
            statement=self.statement,
            tests=self.tests,
            difficulty=self.difficulty or "unknown",
            input_mode=self.kind,
            fn_name=self.fn_name,
            starter_code=self.starter_code,
            float_tolerance=self.float_tolerance,
            time_limit_s=self.time_limit_s,
            memory_limit_mib=self.memory_limit_mib,
            checker=self.checker,
            rating=self.rating,
            tags=", ".join(self.tags) or None,
            num_examples=self.num_examples,
            platform=self.platform,
            date=self.date,
            reference=self.references[0] if self.references else None,
            source=self.source,
            license=self.license,
        )


@dataclass(frozen=True)
class Rejected:
    """A row that its source could not decode, with the rule that it breaks."""

    source: str
    config: str
    row: int
    reason: str
    detail: str = ""


@dataclass
class SourceConfig:
    """The facts of one public data set: conf/source/NAME.yaml.

    ``rows`` holds the number of rows of every config that is read; None where no number is right for every copy.
    ``revision`` is None where none is pinned.
    """

    hub: str = MISSING
    revision: str | None = MISSING
    license: str | None = MISSING
    rows: dict[str, int | None] = MISSING
    float_tolerance: float | None = MISSING  # absolute: what the source's own graders allow for a fraction


class Source(Protocol):
    """One public format."""

    name: str
    is_complete: bool  # an evaluation set: a row that cannot be decoded is an error, never a row less

    def records(self, directory: Path, config: str) -> Iterator[dict[str, Any]]:
        """Yield the columns of every row of one config in order, holding a few rows at a time.

        Raises:
            UserError: for a directory without this config, or a file that is damaged.
        """
        ...

    def decode(self, raw: RawRow) -> Row:
        """Turn the columns of a row into a problem.

        Raises:
            Refused: naming the rule that the row breaks.
        """
        ...


def raw_rows(source: Source, directory: Path, facts: SourceConfig) -> Iterator[RawRow]:
    """Yield every row of the configs in ``facts.rows``, not decoded yet, so that other processes can decode it.

    Raises:
        UserError: for a wrong directory, a damaged file, or another number of rows than ``facts.rows`` says.
    """
    for config, expected in facts.rows.items():
        count = 0
        for columns in source.records(directory, config):
            yield RawRow(source.name, config, count, facts.license, columns, facts.float_tolerance)
            count += 1
        if expected is not None and count != expected:
            raise UserError(
                f"{source.name}: config {config} in {directory} has {count} rows, not {expected}: download it "
                f"again, or correct sources.{source.name}.rows.{config} for another revision"
            )


def decoded(source: Source, raw: RawRow) -> Row | Rejected:
    """Decode one row; one that breaks a rule is rejected, or an error where the source must be complete.

    Raises:
        UserError: for a row of an evaluation set that cannot be decoded.
    """
    try:
        return source.decode(raw)
    except Refused as error:
        refused = error
    except RecursionError:
        refused = Refused(Reason.too_deep, "nested beyond the decoder's limit")
    if source.is_complete:
        raise UserError(
            f"{raw.source}: row {raw.row} of {raw.config} cannot be decoded ({refused}), and an evaluation set must be "
            "complete: download this file again"
        ) from refused
    return Rejected(raw.source, raw.config, raw.row, refused.reason.value, refused.detail)


def read(source: Source, directory: Path, facts: SourceConfig) -> Iterator[Row | Rejected]:
    """Yield every row of the configs in ``facts.rows``, decoded or rejected, in order.

    Raises:
        UserError: as ``raw_rows`` and ``decoded``; also for an id that an evaluation set holds twice.
    """
    ids: set[str] = set()
    for raw in raw_rows(source, directory, facts):
        row = decoded(source, raw)
        if source.is_complete and isinstance(row, Row):
            if row.id in ids:
                raise UserError(f"{source.name}: {row.id} occurs twice in {directory}: download the data set again")
            ids.add(row.id)
        yield row


def make_row(raw: RawRow, **values: Any) -> Row:
    """A row with the identity of ``raw``.

    Raises:
        Refused: for a blank statement or no tests.
    """
    row = Row(
        **{
            "id": f"{raw.source}/{raw.config}/{raw.row}",
            "source": raw.source,
            "config": raw.config,
            "row": raw.row,
            "license": raw.license,
            "split": "test" if raw.config.endswith("_test") else "train",
            **values,
        }
    )
    if not row.statement.strip():
        raise Refused(Reason.empty_statement)
    if not row.tests:
        raise Refused(Reason.no_tests)
    tolerance = row.float_tolerance or tolerance_of(row.statement, row.tests, raw.float_tolerance)
    return replace(row, starter_code=row.starter_code or None, float_tolerance=tolerance)
