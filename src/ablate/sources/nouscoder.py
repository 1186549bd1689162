"""NousResearch/RLVR_Coding_Problems: NousCoder-14B's train set, DeepCoder's three train splits in one shape."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ablate.sources.base import RawRow, Row
from ablate.sources.cases import (
    FunctionTests,
    encoded_function_tests,
    function_name,
    function_tests,
    paired,
    row_of_function,
    row_of_program,
)
from ablate.sources.directory import find_files, jsonl_rows
from ablate.sources.literals import parse_json
from ablate.sources.reasons import Reason, Refused, shown
from ablate.sources.statements import without_framing

DATASETS = ("taco", "lcb", "prime")
KINDS = ("func", "stdin_stdout")


class NousCoder:
    name = "nouscoder"
    is_complete = False

    def records(self, directory: Path, config: str) -> Iterator[dict[str, Any]]:
        for path in find_files(directory, "rl_train.jsonl"):
            yield from jsonl_rows(path, required=("problem", "problem_type", "tests", "dataset"))

    def decode(self, raw: RawRow) -> Row:
        dataset, kind = raw.text("dataset"), raw.text("problem_type")
        if dataset not in DATASETS:
            raise Refused(Reason.bad_column, f"dataset is {shown(dataset)}, not one of {', '.join(DATASETS)}")
        if kind not in KINDS:
            raise Refused(Reason.unknown_kind, f"problem_type is {shown(kind)}, not one of {', '.join(KINDS)}")
        statement, starter_code = raw.text("problem"), raw.optional_text("starter_code")
        if dataset == "prime":
            statement, stub = without_framing(statement)
            starter_code = starter_code or stub
        pairs = self.pairs(raw)
        if kind == "stdin_stdout":
            return row_of_program(raw, pairs, starter_code, statement=statement)
        name = function_name(raw.fields.get("fn_name"))
        return row_of_function(raw, name, self.function_tests(dataset, pairs), starter_code, statement=statement)

    def pairs(self, raw: RawRow) -> list[tuple[Any, Any]]:
        tests = raw.fields["tests"]
        if isinstance(tests, str):
            tests = parse_json(tests)
        if not isinstance(tests, dict) or not {"input", "output"} <= tests.keys():
            raise Refused(Reason.bad_shape, "tests must be an object with input and output")
        return paired(tests["input"], tests["output"])

    def function_tests(self, dataset: str, pairs: list[tuple[Any, Any]]) -> FunctionTests:
        """LiveCodeBench's tests are text already; PrimeIntellect wraps every output, TACO only some."""
        if dataset == "lcb":
            return FunctionTests(encoded_function_tests(pairs))
        return function_tests(pairs, wrapped=True if dataset == "prime" else None)
