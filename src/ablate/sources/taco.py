"""The tests of TACO, as DeepCoder and TACO-verified publish them: ``{inputs, outputs, fn_name?}``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ablate.sources.base import RawRow, Row
from ablate.sources.cases import function_name, function_tests, paired, row_of_function, row_of_program
from ablate.sources.literals import check_unicode
from ablate.sources.reasons import Reason, Refused
from ablate.sources.statements import program_of


def taco_row(raw: RawRow, tests: Any, starter_code: str | None = None, **values: Any) -> Row:
    """Return the row of one TACO problem; ``tests`` is the parsed column.

    Raises:
        Refused: naming the rule that the tests break.
    """
    if not isinstance(tests, dict) or not {"inputs", "outputs"} <= tests.keys():
        raise Refused(Reason.bad_shape, "tests must be an object with inputs and outputs")
    pairs = paired(tests["inputs"], tests["outputs"])
    if tests.get("fn_name") is None:
        return row_of_program(raw, pairs, starter_code, **values)
    name = function_name(tests["fn_name"])
    # Outputs are [v] for some of TACO's origins and v for others (ganler/code-r1, examples/data_preprocess/coder1.py).
    return row_of_function(raw, name, function_tests(pairs, wrapped=None), starter_code, **values)


def programs(raw: RawRow, column: str) -> tuple[str, ...]:
    """Return a column that is a list of texts, or nothing.

    Raises:
        Refused: bad_column for anything else.
    """
    value = raw.fields.get(column) or []
    if not isinstance(value, list) or not all(isinstance(program, str) for program in value):
        raise Refused(Reason.bad_column, f"{column} is not a list of programs")
    return tuple(check_unicode(program.replace("\r\n", "\n")) for program in value if program.strip())


def without_fences(texts: Iterable[str]) -> tuple[str, ...]:
    """Return programs as they are, or what stands in their fences where they have any."""
    return tuple((program_of(text) if "```" in text else None) or text for text in texts)
