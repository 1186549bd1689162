"""Lists of inputs and outputs as test cases: one function per kind of test.

Nothing is padded, turned into text or guessed: what a format does not describe is refused by name.
"""

from __future__ import annotations

import keyword
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ablate.sources.base import RawRow, Row, make_row
from ablate.sources.literals import check_unicode, encode_value, parse_json
from ablate.sources.reasons import Reason, Refused, shown
from ablate.sources.statements import asks_for_function
from ablate.types import TestCase


@dataclass(frozen=True)
class FunctionTests:
    """Tests of a function, with the second reading of their outputs where the format leaves two."""

    tests: tuple[TestCase, ...]
    other_tests: tuple[TestCase, ...] = ()
    needs_reference: bool = False


def paired(inputs: Any, outputs: Any) -> list[tuple[Any, Any]]:
    """Return inputs and outputs side by side.

    Raises:
        Refused: bad_shape, no_tests or len_mismatch.
    """
    if not isinstance(inputs, list) or not isinstance(outputs, list):
        raise Refused(Reason.bad_shape, "inputs and outputs must be lists")
    if len(inputs) != len(outputs):
        raise Refused(Reason.len_mismatch, f"{len(inputs)} inputs, {len(outputs)} outputs")
    if not inputs:
        raise Refused(Reason.no_tests)
    return list(zip(inputs, outputs, strict=True))


def stdin_tests(pairs: Sequence[tuple[Any, Any]]) -> tuple[TestCase, ...]:
    """Return tests of a program for training: line ends folded to one newline, standard input ends with one.

    Raises:
        Refused: non_string, where an input or output is neither text nor a list of lines.
    """
    return tuple(TestCase(end_line(lines(given)), lines(expected)) for given, expected in pairs)


def end_line(text: str) -> str:
    return text if text.endswith("\n") else text + "\n"


def lines(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        value = "\n".join(value)
    if not isinstance(value, str):
        raise Refused(Reason.non_string, f"{type(value).__name__} {shown(value)}")
    return check_unicode(value.replace("\r\n", "\n"))


def function_tests(pairs: Sequence[tuple[Any, Any]], wrapped: bool | None) -> FunctionTests:
    """Return tests of a function whose inputs are lists of arguments.

    Args:
        wrapped: True where the format writes every output v as ``[v]``; None where it does not say. Then, if every
            output is a list of one element, both readings are kept and a reference must choose. An output of any
            other shape shows that the outputs are bare.

    Raises:
        Refused: bad_shape for an input that is no list; ``encode_value``'s reasons for a value that is not JSON.
    """
    arguments = [encode_arguments(given) for given, _ in pairs]
    outputs = [expected for _, expected in pairs]
    bare = cases(arguments, outputs)
    if not all(isinstance(output, list) and len(output) == 1 for output in outputs):
        return FunctionTests(bare, needs_reference=wrapped is True)
    unwrapped = cases(arguments, [output[0] for output in outputs])
    return FunctionTests(unwrapped) if wrapped else FunctionTests(unwrapped, bare, needs_reference=True)


def cases(arguments: Sequence[str], outputs: Sequence[Any]) -> tuple[TestCase, ...]:
    return tuple(TestCase(given, encode_value(value)) for given, value in zip(arguments, outputs, strict=True))


def encode_arguments(given: Any) -> str:
    if not isinstance(given, list):
        raise Refused(Reason.bad_shape, f"arguments are {type(given).__name__} {shown(given)}, not a list")
    return "\n".join(encode_value(argument) for argument in given)


def encoded_function_tests(pairs: Sequence[tuple[Any, Any]]) -> tuple[TestCase, ...]:
    """Return tests of a function that are encoded already: one JSON value per line, the output one JSON value.

    Raises:
        Refused: non_string or bad_json.
    """
    for texts in pairs:
        if not all(isinstance(text, str) for text in texts):
            raise Refused(Reason.non_string, f"{shown(texts)}")
        for line in [*texts[0].split("\n"), texts[1]]:
            if line.strip():
                parse_json(line, parse_int=str)  # only to see that it is JSON: the text is kept as it is
    if any(not expected.strip() for _, expected in pairs):
        raise Refused(Reason.bad_json, "an output is empty")
    return tuple(TestCase(check_unicode(given), check_unicode(expected)) for given, expected in pairs)


def function_name(value: Any) -> str:
    """Return the name of a function that a test calls.

    Raises:
        Refused: no_fn_name for an absent name, bad_fn_name for anything but an identifier.
    """
    if value in (None, "", "none", "None"):
        raise Refused(Reason.no_fn_name)
    if not isinstance(value, str) or not value.isidentifier() or keyword.iskeyword(value):
        raise Refused(Reason.bad_fn_name, f"{shown(value)}")
    return value


def number_of_arguments(tests: Sequence[TestCase]) -> int | None:
    """Return how many arguments every test passes, or None where tests differ."""
    counts = {sum(1 for line in test.input.split("\n") if line.strip()) for test in tests}
    return counts.pop() if len(counts) == 1 else None


def stub(fn_name: str, tests: Sequence[TestCase]) -> str:
    """Return starter code for a function that was published without: ``def add(arg0, arg1):``."""
    count = number_of_arguments(tests)
    names = "*args" if count is None else ", ".join(f"arg{index}" for index in range(count))
    return f"def {fn_name}({names}):\n    pass"


def row_of_function(raw: RawRow, fn_name: str, tests: FunctionTests, starter_code: str | None, **values: Any) -> Row:
    """A row whose tests call a function; without published starter code it gets a stub.

    Raises:
        Refused: as ``make_row``.
    """
    return make_row(
        raw,
        kind="functional",
        fn_name=fn_name,
        tests=tests.tests,
        other_tests=tests.other_tests,
        needs_reference=tests.needs_reference,
        starter_code=starter_code if (starter_code or "").strip() else stub(fn_name, tests.tests),
        **values,
    )


def row_of_program(raw: RawRow, pairs: Sequence[tuple[Any, Any]], starter_code: str | None, **values: Any) -> Row:
    """A row whose tests run a program.

    Raises:
        Refused: no_fn_name, where inputs are lists and the statement asks for a function: these are the arguments of a
            function whose name was lost, and not lists of lines.
    """
    if any(isinstance(given, list) for given, _ in pairs) and asks_for_function(values["statement"], starter_code):
        raise Refused(Reason.no_fn_name, "inputs are lists and the statement asks for a function")
    return make_row(raw, kind="stdin", tests=stdin_tests(pairs), **values)
