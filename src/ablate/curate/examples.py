"""Examples of a statement that its tests contradict: the same input, and another output."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from ablate.types import TestCase
from ablate.verify.compare import compare_tokens

HEADING = re.compile(
    r"^[\s#*>-]*(?:(?:sample|example)s?\s+)?(?P<what>input|output)\s*#?\s*\d*\s*(?::(?P<rest>.*)|[\s#*-]*)$",
    re.IGNORECASE,
)
END = re.compile(
    r"^[\s#*>-]*(explanation|note|constraint|example|sample|hint|scoring|subtask|limit)s?\b|^\s*-{3,}", re.IGNORECASE
)
FENCE = re.compile(r"^\s*```\w*\s*$")
TOLERANCE = 1e-4  # examples show fewer digits than tests


def contradicting_example(statement: str, kind: str, tests: Sequence[TestCase]) -> tuple[str, str] | None:
    """The reason and the input, where an example of the statement has another output than the test of the same input.

    Only what is certain counts: an example whose input is not the input of a test says nothing, and the test's output
    may be the beginning of the text that follows ``Output``.
    """
    if kind != "stdin":
        return None
    expected_of = {" ".join(test.input.split()): test.output.lower() for test in tests}
    for given, shown in examples_of(statement):
        expected = expected_of.get(" ".join(given.split()))
        if expected is not None and not begins_with(shown.lower(), expected):
            return "examples_contradict_tests", f"the input {given.strip()[:60]!r}"
    return None


def examples_of(statement: str) -> list[tuple[str, str]]:
    """Pairs of texts: what stands under a heading ``Input``, and under the heading ``Output`` that follows it."""
    sections: list[tuple[str, list[str]]] = []
    lines: list[str] = []  # of the section that is open; after its end, of no section
    is_fenced = False  # then the next fence ends the section
    for line in statement.replace("\r\n", "\n").split("\n"):
        heading = HEADING.match(line)
        if heading:
            lines, is_fenced = [heading["rest"] or ""], False
            sections.append((heading["what"].lower(), lines))
        elif END.match(line) or (is_fenced and FENCE.match(line)):
            lines, is_fenced = [], False
        elif FENCE.match(line):
            is_fenced = True
        else:
            lines.append(line)
    return [
        ("\n".join(given), "\n".join(shown))
        for (first, given), (second, shown) in pairwise(sections)
        if (first, second) == ("input", "output") and any(map(str.strip, shown))
    ]


def begins_with(shown: str, expected: str) -> bool:
    """Whether the words of ``expected`` are the first words of ``shown``; numbers may differ by their last digits."""
    first = " ".join(shown.split()[: len(expected.split())])
    return compare_tokens(first.encode("utf-8", "replace"), expected, TOLERANCE)
