"""Rows of TACO-verified, of PrimeIntellect's tasks and of NousCoder's train set."""

from __future__ import annotations

import json
from typing import Any

from .deepcoder import (
    BARE,
    CALLS,
    LISTED,
    UNSETTLED,
    WRAPPED,
    call_tests,
    fenced,
    framed,
    framed_function,
    program_tests,
    values,
)
from .example import FUNCTIONS, STORY, TRAIN, Example, stdin_pairs


def verified(statement: str, tests: Any, *solutions: str, **more: Any) -> dict[str, Any]:
    text = tests if isinstance(tests, str) else json.dumps(tests)
    row = {"question": statement, "solutions": list(solutions), "starter_code": "", "input_output": text}
    facts = {"difficulty": "EASY", "name": None, "source": "codechef", "url": None, "date": None, "id": 0}
    return {**row, **facts, **more}


def taco_verified_rows() -> list[Example]:
    program, titled = TRAIN[22], TRAIN[23]
    inputs, outputs = zip(*stdin_pairs(program), strict=True)
    tests = {"inputs": list(inputs), "outputs": list(outputs)}
    calls = {
        "fn_name": UNSETTLED.name,
        "inputs": [[a, b] for a, b in CALLS],
        "outputs": [[v] for v in values(UNSETTLED)],
    }
    lists = {"fn_name": LISTED.name, "inputs": [[[a], b] for a, b in CALLS], "outputs": [[a] * 2 for a, _ in CALLS]}
    other_inputs, other_outputs = zip(*stdin_pairs(titled), strict=True)
    bomb = "[" * 500 + "]" * 500
    return [
        Example("tests as JSON", verified(program.statement, tests, program.program)),
        Example(
            "tests as a Python literal",
            verified(TRAIN[24].statement, repr({"inputs": ["1 2\n"] * 1 + list(inputs), "outputs": ["3\n", *outputs]})),
        ),
        Example(
            "the statement of another row that lost its reference",
            verified(UNSETTLED.statement, calls, UNSETTLED.code, starter_code=UNSETTLED.stub),
        ),
        Example(
            "title of the evaluation set",
            verified(
                titled.statement,
                {"inputs": other_inputs, "outputs": other_outputs},
                titled.program,
                name="Rising Hours",
            ),
        ),
        Example(
            "lists in and out",
            verified(
                "Complete the function "
                + LISTED.name
                + ". It gets a list and a number, and returns the list twice in a row.",
                lists,
                f"def {LISTED.name}(a, b):\n    return a + a\n",
            ),
        ),
        Example(
            "a literal that calls",
            verified(program.statement, "{'inputs': [__import__('os').getcwd()], 'outputs': ['']}"),
            "bad_json",
        ),
        Example(
            "a tuple",
            verified(BARE.statement, repr({"fn_name": BARE.name, "inputs": [[(1, 2), 3]], "outputs": [3]})),
            "not_json",
        ),
        Example(
            "number keys",
            verified(BARE.statement, repr({"fn_name": BARE.name, "inputs": [[{1: 2}, 3]], "outputs": [3]})),
            "non_string_keys",
        ),
        Example(
            "a literal of 500 levels",
            verified(program.statement, "{'inputs': " + bomb + ", 'outputs': []}"),
            "too_deep",
        ),
        Example(
            "more inputs than outputs", verified(program.statement, {**tests, "outputs": outputs[:-1]}), "len_mismatch"
        ),
        Example("solutions as text", {**verified(program.statement, tests), "solutions": "print(1)"}, "bad_column"),
    ]


def task(prompt: str, tests: Any, gold: str | None, language: str = "python", **more: Any) -> dict[str, Any]:
    info = tests if isinstance(tests, str) else repr({"language": language, "test_cases": tests})
    row = {"source": "apps", "task_type": "verifiable_code", "in_source_id": "0", "prompt": prompt}
    return {
        **row,
        "gold_standard_solution": gold,
        "verification_info": info,
        "metadata": "{}",
        "problem_id": "0",
        **more,
    }


def primeintellect_rows() -> list[Example]:
    program, call = TRAIN[25], FUNCTIONS[8]
    tests = program_tests(stdin_pairs(program))
    prompt = framed(program.statement)
    as_json = json.dumps({"language": "python", "test_cases": program_tests(stdin_pairs(TRAIN[27]))})
    return [
        Example("tests as a Python literal", task(prompt, tests, fenced(program.program))),
        Example("tests as JSON", task(framed(TRAIN[27].statement), as_json, fenced(TRAIN[27].program))),
        Example("function", task(framed_function(call), call_tests(call), fenced(call.code))),
        Example("no reference", task(framed(TRAIN[28].statement), program_tests(stdin_pairs(TRAIN[28])), None)),
        Example("JavaScript", task(prompt, tests, "```javascript\n0\n```", language="javascript"), "other_language"),
        Example("a task of mathematics", task(prompt, tests, None, task_type="verifiable_math"), "other_task"),
        Example("neither JSON nor a literal", task(prompt, "{'language': python}", None), "bad_json"),
        Example("no test cases", task(prompt, "{'language': 'python'}", None), "bad_shape"),
    ]


def nous(
    problem: str, kind: str, tests: Any, dataset: str, fn_name: str = "none", starter_code: str = ""
) -> dict[str, Any]:
    row = {"problem": problem, "problem_type": kind, "fn_name": fn_name, "tests": tests}
    return {**row, "starter_code": starter_code, "index": 0, "dataset": dataset}


def columns(pairs: Any) -> dict[str, Any]:
    return {"input": [a for a, _ in pairs], "output": [b for _, b in pairs]}


def nouscoder_rows() -> list[Example]:
    first, second, third = TRAIN[29:32]
    encoded, call = FUNCTIONS[9], FUNCTIONS[10]
    arguments = [[a, b] for a, b in CALLS]
    wrapped = {"input": arguments, "output": [[v] for v in values(call)]}
    bare = {"input": arguments, "output": values(BARE)}
    doubtful = {"input": arguments, "output": [[v] for v in values(WRAPPED)]}
    texts = json.dumps(columns(encoded.encoded))
    stdin = columns(stdin_pairs(first))
    starter = f"class Solution:\n    def {encoded.name}(self, a: int, b: int) -> int:\n        "
    return [
        Example("program, tests as text", nous(first.statement, "stdin_stdout", json.dumps(stdin), "taco")),
        Example(
            "program, tests as an object", nous(second.statement, "stdin_stdout", columns(stdin_pairs(second)), "lcb")
        ),
        Example(
            "program in framing", nous(framed(third.statement), "stdin_stdout", columns(stdin_pairs(third)), "prime")
        ),
        Example("LiveCodeBench's function", nous(encoded.statement, "func", texts, "lcb", encoded.name, starter)),
        Example(
            "PrimeIntellect's function", nous(framed_function(call), "func", json.dumps(wrapped), "prime", call.name)
        ),
        Example("TACO's function, bare", nous(BARE.statement, "func", bare, "taco", BARE.name)),
        Example("TACO's function, wrapped or not", nous(WRAPPED.statement, "func", doubtful, "taco", WRAPPED.name)),
        Example("the long story", nous(STORY, "stdin_stdout", columns([("3 1\n", "4\n")] * 6), "taco")),
        Example("function without a name", nous(call.statement, "func", wrapped, "prime"), "no_fn_name"),
        Example("a kind nobody knows", nous(first.statement, "interactive", stdin, "taco"), "unknown_kind"),
        Example("a data set nobody knows", nous(first.statement, "stdin_stdout", stdin, "apps"), "bad_column"),
        Example(
            "fewer outputs", nous(first.statement, "stdin_stdout", {**stdin, "output": []}, "taco"), "len_mismatch"
        ),
        Example("half of a surrogate pair", nous("Print \ud800.", "stdin_stdout", stdin, "taco"), "lone_surrogate"),
        Example("cut off JSON", nous(first.statement, "stdin_stdout", json.dumps(stdin)[:-3], "taco"), "bad_json"),
    ]
