"""agentica-org/DeepCoder-Preview-Dataset: four configs, and four shapes of the column ``tests``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ablate.errors import UserError
from ablate.sources.base import RawRow, Row
from ablate.sources.cases import (
    FunctionTests,
    encoded_function_tests,
    function_name,
    row_of_function,
    row_of_program,
)
from ablate.sources.directory import find_files, parquet_rows
from ablate.sources.literals import parse_json
from ablate.sources.primeintellect import objects, one_kind, primeintellect_row
from ablate.sources.reasons import Reason, Refused, shown
from ablate.sources.taco import programs, taco_row, without_fences

CONFIGS = {
    "primeintellect": ("primeintellect/train-*.parquet", ("problem", "solutions", "tests")),
    "taco": ("taco/train-*.parquet", ("problem", "solutions", "tests")),
    "lcbv5": ("lcbv5/train-*.parquet", ("problem", "starter_code", "tests", "metadata")),
    "lcbv5_test": ("lcbv5/test-*.parquet", ("problem", "starter_code", "tests", "metadata")),
    "codeforces_test": ("codeforces/test-*.parquet", ("problem", "tests")),
}


class DeepCoder:
    name = "deepcoder"
    is_complete = False

    def records(self, directory: Path, config: str) -> Iterator[dict[str, Any]]:
        if config not in CONFIGS:
            raise UserError(f"deepcoder has no config {config}: use {', '.join(CONFIGS)}")
        pattern, columns = CONFIGS[config]
        yield from parquet_rows(find_files(directory, pattern), columns)

    def decode(self, raw: RawRow) -> Row:
        tests = parse_json(raw.text("tests"))
        if raw.config == "taco":
            references = without_fences(programs(raw, "solutions"))
            return taco_row(raw, tests, statement=raw.text("problem"), references=references)
        if raw.config == "primeintellect":
            return primeintellect_row(raw, raw.text("problem"), tests, programs(raw, "solutions"))
        if raw.config == "codeforces_test":
            pairs = [(test.get("input"), test.get("output")) for test in objects(tests)]
            return row_of_program(raw, pairs, None, statement=raw.text("problem"), platform="codeforces")
        return livecodebench_row(raw, tests)


def livecodebench_row(raw: RawRow, tests: Any) -> Row:
    """Return the row of one LiveCodeBench problem as DeepCoder publishes it: ``[{input, output, testtype}]``."""
    statement, starter_code = raw.text("problem"), raw.optional_text("starter_code")
    kind = one_kind(tests, "testtype", {"stdin", "functional"})
    pairs = [(test.get("input"), test.get("output")) for test in tests]
    name = declared_function(raw.fields.get("metadata"))
    if kind == "functional":
        encoded = FunctionTests(encoded_function_tests(pairs))
        return row_of_function(raw, function_name(name), encoded, starter_code, statement=statement)
    if name is not None:
        raise Refused(Reason.mixed_kinds, f"stdin tests, but metadata names the function {shown(name)}")
    return row_of_program(raw, pairs, starter_code, statement=statement)


def declared_function(metadata: Any) -> Any:
    """Return ``func_name`` of a struct, or of its JSON text as copies of the data set have it."""
    if isinstance(metadata, str):
        metadata = parse_json(metadata) if metadata.strip() else None
    if metadata is None:
        return None
    if not isinstance(metadata, dict):
        raise Refused(Reason.bad_column, f"metadata is {type(metadata).__name__}, not an object")
    return metadata.get("func_name") or None
