"""Whether a checker is trusted: it accepts what is expected, and rejects what is not."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ablate.curate.statements import ANY_ORDER
from ablate.types import Problem, TestCase

TRUST_TESTS = 6  # small tests on which a checker is tried
TRUST_BYTES = 200_000  # of such a test
MIN_WORDS = 3  # of an output whose order is changed: two numbers may often be exchanged
# A checker that runs text may be made to accept an answer by the answer itself.
RUNS_TEXT = frozenset(
    (
        "eval",
        "exec",
        "compile",
        "__import__",
        "import_module",
        "system",
        "popen",
        "run",
        "Popen",
        "load",
        "loads",
        "globals",
    )
)
RUNNING_MODULES = frozenset(
    ("subprocess", "pickle", "marshal", "importlib", "ctypes", "code", "runpy", "shelve", "builtins")
)
PRINTS = "import sys\nsys.stdout.write({table!r}.get(sys.stdin.read(), ''))\n"


def small_tests(tests: Sequence[TestCase]) -> tuple[TestCase, ...]:
    """A few small tests, in their order; different outputs first."""
    small = [test for test in tests if len(test.input) + len(test.output) <= TRUST_BYTES]
    order = sorted(range(len(small)), key=lambda index: len(small[index].input) + len(small[index].output))
    seen: set[str] = set()
    first = [index for index in order if not (small[index].output in seen or seen.add(small[index].output))]
    chosen = sorted([*first, *(index for index in order if index not in first)][:TRUST_TESTS])
    return tuple(small[index] for index in chosen)


def program_that_prints(outputs: Mapping[str, str], mode: str) -> str:
    """A program that answers every input with the given output."""
    text = PRINTS.format(table=dict(outputs))
    if mode == "file":
        text += f"open('output.txt', 'w').write({dict(outputs)!r}.get(open('input.txt').read(), ''))\n"
    return text


def right_program(problem: Problem) -> str:
    return program_that_prints({test.input: test.output for test in problem.tests}, problem.input_mode)


def wrong_programs(problem: Problem) -> Iterator[tuple[str, str, str]]:
    """Programs that a checker must reject: the reason if it does not, what they print, and their text."""
    tests, mode = problem.tests, problem.input_mode
    yield "checker_accepts_anything", "nothing", program_that_prints({}, mode)
    yield "checker_accepts_anything", "a word", program_that_prints({test.input: "?\n" for test in tests}, mode)
    if len({test.output for test in tests}) > 1:
        moved = {test.input: other.output for test, other in zip(tests, (*tests[1:], tests[0]), strict=True)}
        yield "checker_accepts_anything", "the answer to another test", program_that_prints(moved, mode)
    if problem.checker.kind != "python" or ANY_ORDER.search(problem.statement):
        return  # the jury of a contest decides about the order of its own answers
    turned = {test.input: turned_words(test.output) for test in tests if can_turn(test.output)}
    if turned:
        some = {test.input: turned.get(test.input, test.output) for test in tests}
        yield "checker_ignores_order", "the expected words in another order", program_that_prints(some, mode)


def can_turn(output: str) -> bool:
    words = output.split()
    return len(words) >= MIN_WORDS and turned_words(output).split() != words


def turned_words(output: str) -> str:
    """The words of every line, the first one last; a single column is turned as a whole."""
    rows = [line.split() for line in output.splitlines() if line.split()]
    is_column = all(len(row) == 1 for row in rows)
    rows = [*rows[1:], rows[0]] if is_column else [[*row[1:], row[0]] for row in rows]
    return "".join(" ".join(row) + "\n" for row in rows)


def tried_on(problem: Problem) -> Problem:
    """The problem with the tests on which its checker is tried."""
    return replace(problem, tests=small_tests(problem.tests))


def runs_text(checker_text: str) -> str | None:
    """The name by which a Python checker could run text that it reads, or None."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            tree = ast.parse(checker_text)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None  # it will not start, and that has a reason of its own
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", None)
            of_json = isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", None) in (
                "json",
                "np",
                "re",
            )
            if name in RUNS_TEXT and not of_json:
                return name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names]
            for module in modules:
                if module.split(".")[0] in RUNNING_MODULES:
                    return module
    return None
