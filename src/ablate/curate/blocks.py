"""The first pass: rows are read once, decoded by all cores, and left on disk in blocks, so that a killed run continues.

A block holds up to 64 rows of one config. Its ``.jsonl`` has a line per row, a candidate or a rejection, and appears
last; its ``.bin`` has the packed tests. Which rows a block holds depends on the data alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from signal import SIG_IGN, SIGINT, signal
from typing import Any

from ablate.curate.candidate import Candidate, Details, Line, Place, Rejection, place_of, problem_fields, read_candidate
from ablate.curate.examples import contradicting_example
from ablate.curate.statements import several_answers, statement_fault
from ablate.curate.tests import Caps, Unusable, clean_tests, keys_of_all, pair_keys, probes_of, sketch_of
from ablate.curate.text import digest_of, marks_of, signature_of, words_of
from ablate.errors import UserError
from ablate.files import replacing, write_atomic
from ablate.files.stored_tests import PackedTests, StoredTests, pack_tests
from ablate.process.parents import end_with
from ablate.sources.base import RawRow, Rejected, Row, SourceConfig, decoded, raw_rows
from ablate.sources.choices import SOURCES

BLOCK_ROWS = 64
BLOCK_BYTES = 32 << 20  # one row of a benchmark can be 100 MB, and a block waits in memory for a core
LINES, TESTS = ".jsonl", ".bin"
Done = Callable[[int], object]  # takes how many more rows are done


@dataclass(frozen=True)
class Block:
    """Rows of one config that are decoded together.

    Example: ``Block("deepcoder-taco-000003", rows=(...,))``
    """

    name: str
    rows: tuple[RawRow, ...]


@dataclass(frozen=True)
class Rules:
    """What decoding needs of conf/curate.yaml."""

    caps: Caps
    max_references: int
    time_limit_s: float | None


def blocks_of(name: str, directory: Path, facts: SourceConfig) -> Iterator[Block]:
    """Read a source in blocks; raises ``UserError`` as ``raw_rows``."""
    rows: list[RawRow] = []
    index = size = 0
    for raw in raw_rows(SOURCES[name], directory, facts):
        if rows and (raw.config != rows[0].config or len(rows) == BLOCK_ROWS or size >= BLOCK_BYTES):
            yield Block(f"{name}-{rows[0].config}-{index:06d}", tuple(rows))
            index, rows, size = index + 1, [], 0
        rows.append(raw)
        size += sum(len(value) for value in raw.fields.values() if isinstance(value, str))
    if rows:
        yield Block(f"{name}-{rows[0].config}-{index:06d}", tuple(rows))


def decode_blocks(
    blocks: Iterator[Block], directory: Path, rules: Rules, workers: int, is_mine: Callable[[int], bool], done: Done
) -> list[str]:
    """Decode every block that is mine and not on disk yet; return the names of all blocks, in order.

    Args:
        is_mine: whether this job of an array decodes the block of this index.
        done: called with the number of rows after each block.

    Raises:
        UserError: of the reader, of a row of an evaluation set that cannot be decoded, or for a worker that was killed.
    """
    names: list[str] = []
    running: set[Future[int]] = set()
    with ProcessPoolExecutor(workers, get_context("spawn"), begin_worker, (os.getpid(),)) as pool:
        try:
            for index, block in enumerate(blocks):
                names.append(block.name)
                if not is_mine(index) or (directory / f"{block.name}{LINES}").exists():
                    done(len(block.rows))
                    continue
                running.add(pool.submit(decode_block, block, directory, rules))
                if len(running) > workers:
                    finished, running = wait(running, return_when=FIRST_COMPLETED)
                    done(sum(each.result() for each in finished))
            for each in running:
                done(each.result())
        except UserError:  # what is being decoded is finished and kept
            raise
        except BrokenProcessPool as error:
            raise UserError(
                "a process that decodes rows was killed, most likely because memory ran out: give fewer workers=N; "
                "what is decoded is kept"
            ) from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return names


def begin_worker(parent: int) -> None:
    """A Ctrl-C at the terminal reaches every process, and only the one that started this worker answers it."""
    signal(SIGINT, SIG_IGN)
    end_with(parent)


def decode_block(block: Block, directory: Path, rules: Rules) -> int:
    """Decode the rows of a block, write its two files, and return how many rows it has."""
    lines: list[str] = []
    path = directory / f"{block.name}{TESTS}"
    with replacing(path) as scratch, scratch.open("wb") as file:

        def store(packed: PackedTests) -> Place:
            offset = file.tell()
            file.write(packed.blob)
            return place_of(packed, offset)

        for raw in block.rows:
            lines.append(json.dumps(examined(raw, block.name, rules, store), ensure_ascii=False) + "\n")
    write_atomic(directory / f"{block.name}{LINES}", "".join(lines))
    return len(block.rows)


def examined(raw: RawRow, block: str, rules: Rules, store: Callable[[PackedTests], Place]) -> dict[str, Any]:
    """Decode a row, apply the rules that need no other row, and return its line."""
    row = decoded(SOURCES[raw.source], raw)
    if isinstance(row, Rejected):
        return {"rejected": asdict(row)}
    try:
        return line_of(row, block, rules, store)
    except Unusable as fault:
        return {"rejected": asdict(Rejection(row.source, row.config, row.row, *fault.args))}


def line_of(row: Row, block: str, rules: Rules, store: Callable[[PackedTests], Place]) -> dict[str, Any]:
    """Return the line of a candidate, its tests packed; rows of a test split are exempt from the rules for training.

    Raises:
        Unusable: naming the rule that the row breaks.
    """
    tests, other, doubt, num_large = row.tests, row.other_tests, None, 0
    problem = problem_fields(row)
    if row.split == "train":
        problem["time_limit_s"] = rules.time_limit_s or problem["time_limit_s"]
        problem["num_examples"] = None if rules.caps.max_tests is not None else problem["num_examples"]
        fault = statement_fault(row.statement)
        if fault is not None:
            raise Unusable(*fault)
        tests, num_large = clean_tests(tests, row.kind != "functional", rules.caps)
        other = clean_tests(other, row.kind != "functional", rules.caps)[0] if other else ()
        if row.checker is None:
            doubt = several_answers(row.statement) or contradicting_example(row.statement, row.kind, tests)
    words = words_of(row.statement)
    candidate = {
        "id": row.id,
        "source": row.source,
        "config": row.config,
        "row": row.row,
        "split": row.split,
        "kind": row.kind,
        "date": row.date,
        "needs_reference": row.needs_reference,
        "notes": row.notes,
        "block": block,
        "tests": asdict(store(pack_tests(tests))),
        "other_tests": asdict(store(pack_tests(other))) if other else None,
        "text_key": digest_of([" ".join(words)]),
        "marks_key": digest_of(marks_of(row.statement)),
        "tests_key": keys_of_all(tests),
        "signature": signature_of(words).tobytes().hex(),
        "probes": probes_of(tests),
        "num_large_tests": num_large,
        "has_checker": row.checker is not None,
        "fault": doubt,
    }
    details = Details(
        problem, row.title, row.references[: rules.max_references], pair_keys(tests), row.wrong, sketch_of(tests)
    )
    return {"candidate": candidate, "details": asdict(details)}


def read_blocks(directory: Path, names: Sequence[str]) -> tuple[list[Candidate], list[Rejection]]:
    """Read what the first pass left, in the order of the data."""
    candidates: list[Candidate] = []
    rejections: list[Rejection] = []
    for name in names:
        path, offset = directory / f"{name}{LINES}", 0
        with path.open("rb") as lines:
            for line in lines:
                entry = json.loads(line)
                if "candidate" in entry:
                    candidates.append(read_candidate(entry, Line(str(path), offset, len(line))))
                else:
                    rejections.append(Rejection(**entry["rejected"]))
                offset += len(line)
    return candidates, rejections


def stored_tests(directory: Path, block: str, place: Place) -> StoredTests:
    return place.stored(str(directory / f"{block}{TESTS}"))
