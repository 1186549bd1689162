"""Rows of the five configs of agentica-org/DeepCoder-Preview-Dataset."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from .example import (
    CALLS,
    EVALUATION_STORY,
    EVALUATION_STORY_PROGRAM,
    EVALUATION_STORY_TESTS,
    FUNCTIONS,
    HELD_OUT,
    HELD_OUT_FUNCTIONS,
    STORY,
    STORY_PROGRAM,
    STORY_TESTS,
    TRAIN,
    Example,
    Function,
    stdin_pairs,
)

PREAMBLE = "Solve the following coding problem using the programming language python:\n\n"
PROGRAM_TRAILER = (
    "\n\nThe input will be stdin and you should print your solution to stdout\n\n"
    "Now solve the problem and return the code."
)


def framed(statement: str) -> str:
    return f"{PREAMBLE}{statement}{PROGRAM_TRAILER}"


def framed_function(function: Function) -> str:
    return (
        f"{PREAMBLE}{function.statement}\n\nWrite your solution by modifying this code:\n\n```python\n"
        f'{function.stub}\n```\n\nYour solution should implemented in the function "{function.name}". The inputs will '
        "be passed to it and it should return the correct solution.\n\nNow solve the problem and return the code."
    )


def fenced(code: str) -> str:
    return f"```python\n{code}\n```"


def program_tests(pairs: Sequence[tuple[Any, Any]]) -> list[dict[str, Any]]:
    return [{"type": "stdin_stdout", "input": a, "output": b, "fn_name": None} for a, b in pairs]


def call_tests(function: Function, wrapped: bool = True) -> list[dict[str, Any]]:
    values = [(a, b, function.value(a, b)) for a, b in CALLS]
    return [
        {"type": "function_call", "input": [a, b], "output": [v] if wrapped else v, "fn_name": function.name}
        for a, b, v in values
    ]


def prime(statement: str, tests: Any, *solutions: str) -> dict[str, Any]:
    text = tests if isinstance(tests, str) else json.dumps(tests)
    return {"problem": statement, "solutions": [fenced(each) for each in solutions], "tests": text}


def primeintellect_rows() -> list[Example]:
    first, *others = TRAIN[:7]
    call, second_call = FUNCTIONS[0], FUNCTIONS[1]
    pairs = stdin_pairs(first)
    good = framed(first.statement)
    angle = "Read a b on one line. Print 1 if a < b && b > 0, else print 0. The brackets and the ampersands count."
    angle_tests = program_tests([(f"{a} {b}\n", f"{int(a < b and b > 0)}\n") for a, b in CALLS])
    angle_program = "a,b=map(int,input().split())\nprint(int(a < b and b > 0))"
    escaped = angle.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    calls, deep = call_tests(call), "[" * 100_000 + "]" * 100_000
    renamed = [*calls[:-1], {**calls[-1], "fn_name": "another"}]
    not_finite = json.dumps(call_tests(call)).replace(f'"output": [{call.value(*CALLS[0])}]', '"output": [NaN]', 1)
    huge = json.dumps(calls).replace('"input": [-7,', f'"input": [{"9" * 5000},', 1)
    return [
        *(
            Example("program", prime(framed(each.statement), program_tests(stdin_pairs(each)), each.program))
            for each in (first, *others)
        ),
        Example("function of more than 15 tests", prime(framed_function(call), calls, call.code)),
        Example(
            "function output not wrapped",
            prime(framed_function(second_call), call_tests(second_call, False), second_call.code),
        ),
        Example("unescaped text", prime(framed(angle), angle_tests, angle_program)),
        Example("HTML escapes of another row", prime(framed(escaped), angle_tests, angle_program)),
        Example(
            "Python 2 reference",
            prime(
                framed(TRAIN[8].statement),
                program_tests(stdin_pairs(TRAIN[8])),
                "a,b=map(int,raw_input().split())\nprint a",
            ),
        ),
        Example(
            "prose for a reference",
            {**prime(framed(TRAIN[9].statement), program_tests(stdin_pairs(TRAIN[9]))), "solutions": ["Add them."]},
        ),
        Example("stdin and function tests", prime(good, [*program_tests(pairs), calls[0]]), "mixed_kinds"),
        Example("two function names", prime(framed_function(call), renamed), "mixed_kinds"),
        Example(
            "a kind nobody knows",
            prime(good, [{**each, "type": "file"} for each in program_tests(pairs)]),
            "unknown_kind",
        ),
        Example(
            "function without a name",
            prime(framed_function(call), [{**each, "fn_name": None} for each in calls]),
            "no_fn_name",
        ),
        Example(
            "function named by an expression",
            prime(framed_function(call), [{**each, "fn_name": "os.system"} for each in calls]),
            "bad_fn_name",
        ),
        Example("NaN", prime(framed_function(call), not_finite), "not_finite"),
        Example("integer of 5,000 digits", prime(framed_function(call), huge), "huge_integer"),
        Example(
            "arguments without a list",
            prime(framed_function(call), [{**each, "input": 7} for each in calls]),
            "bad_shape",
        ),
        Example("number as expected output", prime(good, program_tests([(pairs[0][0], 3), *pairs[1:]])), "non_string"),
        Example("half of a surrogate pair", prime(good, program_tests([("\ud800", "1"), *pairs])), "lone_surrogate"),
        Example("no tests", prime(good, []), "no_tests"),
        Example("cut off JSON", prime(good, json.dumps(program_tests(pairs))[:-9]), "bad_json"),
        Example("brackets without end", prime(good, deep), "too_deep"),
        Example("tests that are a number", prime(good, "7"), "bad_shape"),
        Example("nothing but framing", prime(framed(""), program_tests(pairs)), "empty_statement"),
    ]


def taco(statement: str, inputs: Sequence[Any], outputs: Sequence[Any], *solutions: str, **more: Any) -> dict[str, Any]:
    tests = {"inputs": list(inputs), "outputs": list(outputs), **more}
    return {"problem": statement, "solutions": list(solutions), "tests": json.dumps(tests)}


def taco_program(statement: str, pairs: Sequence[tuple[Any, Any]], *solutions: str) -> dict[str, Any]:
    return taco(statement, [a for a, _ in pairs], [b for _, b in pairs], *solutions)


def taco_function(function: Function, outputs: Sequence[Any], *solutions: str) -> dict[str, Any]:
    inputs = [[a, b] for a, b in CALLS]
    return taco(function.statement, inputs, outputs, *solutions, fn_name=function.name)


def values(function: Function) -> list[int]:
    return [function.value(a, b) for a, b in CALLS]


def listed(code: str) -> str:
    """The same function with its value in a list."""
    head, _, value = code.rstrip().rpartition("return ")
    return f"{head}return [{value}]\n"


WRAPPED, BARE, LISTED, UNSETTLED, LOST = FUNCTIONS[2:7]


def taco_function_rows() -> list[Example]:
    pairs = [(f"{a}", f"{b}") for a, b in CALLS]
    lost = taco(LOST.statement, [list(pair) for pair in pairs], [str(v) for v in values(LOST)], LOST.code)
    return [
        Example("function output wrapped", taco_function(WRAPPED, [[v] for v in values(WRAPPED)], WRAPPED.code)),
        Example("function output bare", taco_function(BARE, values(BARE), BARE.code)),
        Example(
            "function that returns a list of one",
            taco_function(LISTED, [[v] for v in values(LISTED)], listed(LISTED.code)),
        ),
        Example("wrapping that no reference settles", taco_function(UNSETTLED, [[v] for v in values(UNSETTLED)])),
        Example("name lost and text arguments", lost, "no_fn_name"),
        Example("more inputs than outputs", taco_function(BARE, values(BARE)[:-1], BARE.code), "len_mismatch"),
        Example("fewer inputs than outputs", taco_function(BARE, [*values(BARE), 1], BARE.code), "len_mismatch"),
    ]


def contaminated_rows() -> list[Example]:
    overlap = "This one is told at sea. " + EVALUATION_STORY.replace("print the number", "write the number")
    other = (
        "Count the rises of a list: read the list on one line and write how many entries exceed their left neighbour."
    )
    spaced = f"  {HELD_OUT[7].statement.replace(' ', '  ').upper()}\n"
    return [
        Example("statement of the evaluation set", taco_program(spaced, stdin_pairs(HELD_OUT[7]), HELD_OUT[7].program)),
        Example(
            "13-gram of the evaluation set", taco_program(overlap, [(f"0 {a}", b) for a, b in EVALUATION_STORY_TESTS])
        ),
        Example(
            "examples of the evaluation set", taco_program(other, EVALUATION_STORY_TESTS, EVALUATION_STORY_PROGRAM)
        ),
    ]


def statement_rows() -> list[Example]:
    """Statements that something is wrong with, and one that shows its examples as it should."""
    guess = "This is an interactive problem. Guess the number n, and flush the output after each guess."
    image = '<img src="https://example.org/task.png"> Solve it.'
    task = "Read a price and a number of pieces on one line. Print what all the pieces cost together."
    total = [(f"{a} {b}\n", f"{a * b}\n") for a, b in [(2, 3), (4, 5), (6, 7), (8, 9), (10, 11)]]
    other = "Read the length and the width of a garden on one line. Print the number of its square metres."
    areas = [(f"{a} {b}\n", f"{a * b}\n") for a, b in [(3, 4), (5, 6), (7, 8), (9, 10), (11, 12)]]
    program = "a,b=map(int,input().split())\nprint(a*b)"
    shown = "\n\n-----Examples-----\nInput\n{}\n\nOutput\n{}\n\nNote\n\nMultiply the two numbers."
    return [
        Example("interactive", taco_program(guess, total, program)),
        Example("nothing but an image", taco_program(image, total, program)),
        Example("examples contradict tests", taco_program(task + shown.format("4 5", "21"), total, program)),
        Example("examples agree with tests", taco_program(other + shown.format("5 6", "30"), areas, program)),
    ]


def taco_rows(large_test_bytes: int) -> list[Example]:
    first = TRAIN[10]
    pairs = stdin_pairs(first)
    by_lines = [(a.split("\n"), b.split("\n")) for a, b in STORY_TESTS]
    near = STORY.replace("every morning", "each morning")
    hard = STORY.replace("at most 100", "at most 100000")
    hard_tests = [(f"{a[:-1]} 12\n", f"{sum(sorted([*map(int, a.split()), 12])[-2:])}\n") for a, _ in STORY_TESTS]
    any_of = "Read n on one line. If there are several divisors of n above 1, print any of them."
    large = "1 " * (large_test_bytes // 2) + "\n"
    last = TRAIN[17]
    return [
        *(Example("program", taco_program(each.statement, stdin_pairs(each), each.program)) for each in TRAIN[10:16]),
        Example("lists of lines", taco_program(STORY, by_lines, STORY_PROGRAM)),
        Example("duplicate, spelled otherwise", taco_program(first.statement.upper() + "\n", pairs, first.program)),
        Example("duplicate, one word changed", taco_program(near, STORY_TESTS[:5], STORY_PROGRAM)),
        Example("the hard version of another row", taco_program(hard, hard_tests, STORY_PROGRAM)),
        *contaminated_rows(),
        Example(
            "several answers", taco_program(any_of, [(f"{n}\n", f"{n}\n") for n in (2, 4, 6, 9, 15)], "print(input())")
        ),
        Example("four tests", taco_program(TRAIN[16].statement, stdin_pairs(TRAIN[16])[:4], TRAIN[16].program)),
        Example(
            "one input, two outputs",
            taco_program("Read a and print it twice.", [("1\n", "1 1\n"), ("1\n", "2\n"), *pairs[:4]]),
        ),
        Example(
            "a test of 100 MB",
            taco_program(
                "Print the number of ones.",
                [(large, f"{len(large) // 2}\n"), *(("1 " * n + "\n", f"{n}\n") for n in range(1, 6))],
                "print(input().count('1'))",
            ),
        ),
        Example(
            "the first reference is wrong", taco_program(last.statement, stdin_pairs(last), "print(0)", last.program)
        ),
        Example("every reference is wrong", taco_program(TRAIN[18].statement, stdin_pairs(TRAIN[18]), "print(0)")),
        Example(
            "tests that an empty program passes",
            taco_program("Read a line and keep quiet.", [(f"{n}\n", "") for n in range(6)], "input()"),
        ),
        Example(
            "carriage returns",
            taco_program(
                TRAIN[19].statement,
                [(a.replace("\n", "\r\n"), b) for a, b in stdin_pairs(TRAIN[19])],
                TRAIN[19].program,
            ),
        ),
        *taco_function_rows(),
        *statement_rows(),
        Example("numbers for input", taco_program("Print the number.", [(n, str(n)) for n in range(6)]), "non_string"),
        Example("no tests", taco_program(first.statement, []), "no_tests"),
    ]


def livecodebench(statement: str, tests: Any, metadata: Any, starter_code: str = "") -> dict[str, Any]:
    return {"problem": statement, "starter_code": starter_code, "tests": json.dumps(tests), "metadata": metadata}


def typed(pairs: Sequence[tuple[Any, Any]], kind: str) -> list[dict[str, Any]]:
    return [{"input": a, "output": b, "testtype": kind} for a, b in pairs]


def lcbv5_rows() -> list[Example]:
    program, function = TRAIN[20], FUNCTIONS[7]
    starter = f"class Solution:\n    def {function.name}(self, a: int, b: int) -> int:\n        "
    none, named = {"func_name": None}, {"func_name": function.name}
    calls = typed(function.encoded, "functional")
    pairs = typed(stdin_pairs(program), "stdin")
    broken = [*calls[:-1], {**calls[-1], "output": "[1,"}]
    return [
        Example("program", livecodebench(program.statement, pairs, none)),
        Example("function", livecodebench(function.statement, calls, named, starter)),
        Example("function without a name", livecodebench(function.statement, calls, none, starter), "no_fn_name"),
        Example("stdin and function tests", livecodebench(program.statement, [*pairs, *calls], none), "mixed_kinds"),
        Example("stdin tests and a function's name", livecodebench(program.statement, pairs, named), "mixed_kinds"),
        Example("an output that is no JSON", livecodebench(function.statement, broken, named, starter), "bad_json"),
    ]


def lcbv5_test_rows() -> list[Example]:
    function = HELD_OUT_FUNCTIONS[0]
    calls = typed(function.encoded, "functional")
    return [
        Example("metadata as text", livecodebench(function.statement, calls, json.dumps({"func_name": function.name})))
    ]


def codeforces_test_rows() -> list[Example]:
    tests = json.dumps([{"input": a, "output": b} for a, b in stdin_pairs(HELD_OUT[2])[:2]])
    return [Example("examples only", {"problem": HELD_OUT[2].statement, "tests": tests})]
