"""Rows of livecodebench/code_generation_lite, by the file that they stand in."""

from __future__ import annotations

import base64
import json
import os
import pickle
import zlib
from collections.abc import Sequence
from typing import Any

from .deepcoder import typed
from .example import (
    EVALUATION_STORY,
    EVALUATION_STORY_TESTS,
    HELD_OUT,
    HELD_OUT_FUNCTIONS,
    Example,
    Function,
    stdin_pairs,
)

FILES = ("test.jsonl", "test2.jsonl", "test3.jsonl", "test4.jsonl", "test5.jsonl", "test6.jsonl")
# test5 ends on the day on which test6 begins, as in the published files: no window of dates is a set of files.
DATES = {
    "test.jsonl": ("2023-05-07", "2023-08-19", "2024-02-10"),
    "test2.jsonl": ("2024-03-30", "2024-04-20"),
    "test3.jsonl": ("2024-06-15", "2024-08-03"),
    "test4.jsonl": ("2024-08-01", "2024-07-31", "2024-09-28"),
    "test5.jsonl": ("2024-10-05", "2024-11-23", "2025-01-04"),
    "test6.jsonl": ("2025-01-04", "2025-02-08", "2025-03-22", "2025-04-06"),
}
PLATFORMS = ("atcoder", "leetcode", "codeforces")


def packed(value: Any, protocol: int = pickle.DEFAULT_PROTOCOL) -> str:
    """Base64 of zlib of a pickle, as the benchmark packs its private tests."""
    return base64.b64encode(zlib.compress(pickle.dumps(value, protocol))).decode()


class Hostile:
    """Unpickling it would leave a file behind."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (self.path,)


def row(number: int, date: str, statement: str, public: Any, private: Any, **more: Any) -> dict[str, Any]:
    identity = {"question_title": f"Tiny {number}", "question_content": statement, "question_id": f"tiny_{number:03}"}
    where = {"platform": PLATFORMS[number % 3], "contest_id": "tiny", "contest_date": f"{date}T00:00:00"}
    tests = {"public_test_cases": json.dumps(public), "private_test_cases": private}
    return {
        **identity,
        **where,
        "starter_code": "",
        "difficulty": ("easy", "medium", "hard")[number % 3],
        **tests,
        "metadata": "{}",
        **more,
    }


def program_row(
    number: int, date: str, pairs: Sequence[tuple[str, str]], statement: str, private: str
) -> dict[str, Any]:
    tests = typed(pairs, "stdin")
    text = json.dumps(tests[2:])
    forms = {"packed": packed(text), "packed by protocol 0": packed(text, 0), "JSON": text}
    return row(number, date, statement, tests[:2], forms[private])


def function_row(number: int, date: str, function: Function) -> dict[str, Any]:
    tests = typed(function.encoded, "functional")
    starter = f"class Solution:\n    def {function.name}(self, a: int, b: int) -> int:\n        "
    metadata = json.dumps({"func_name": function.name})
    private = packed(json.dumps(tests[2:]))
    return row(number, date, function.statement, tests[:2], private, starter_code=starter, metadata=metadata)


def livecodebench_rows() -> dict[str, list[Example]]:
    """Return the rows of every file; the last file ends with the peculiar ones."""
    numbers = iter(range(100))
    rows: dict[str, list[Example]] = {}
    for file, dates in DATES.items():
        rows[file] = []
        for date in dates:
            number = next(numbers)
            private = ("packed", "packed by protocol 0", "JSON")[number % 3]
            combination = HELD_OUT[number]
            made = program_row(number, date, stdin_pairs(combination), combination.statement, private)
            rows[file].append(Example(f"program, private tests {private}", made))
    function = HELD_OUT_FUNCTIONS[1]
    story = program_row(next(numbers), "2025-01-18", EVALUATION_STORY_TESTS, EVALUATION_STORY, "packed")
    public_only = row(
        next(numbers), "2025-02-15", HELD_OUT[21].statement, typed(stdin_pairs(HELD_OUT[21]), "stdin"), "[]"
    )
    private_only = row(
        next(numbers),
        "2025-03-01",
        HELD_OUT[22].statement,
        [],
        packed(json.dumps(typed(stdin_pairs(HELD_OUT[22]), "stdin"))),
    )
    rows["test6.jsonl"] += [
        Example("function", function_row(next(numbers), "2025-01-11", function)),
        Example("a long statement", {**story, "question_title": "Rising Hours"}),
        Example("no private tests", public_only),
        Example("no public tests", private_only),
    ]
    return rows


def broken_payloads(trace: str) -> dict[str, tuple[str, str]]:
    """Return private tests that no reader may accept, by name, with the reason; ``trace`` is what running one makes."""
    text = json.dumps(typed(stdin_pairs(HELD_OUT[0]), "stdin"))
    good = packed(text)
    return {
        "a pickle that runs a command": (packed(Hostile(trace)), "hostile_pickle"),
        "a pickle of a list": (packed([text]), "hostile_pickle"),
        "a pickle of bytes": (packed(text.encode()), "hostile_pickle"),
        "a pickle with an extension": (repacked(b"\x82\x01."), "hostile_pickle"),
        "a pickle with a persistent id": (repacked(b"Pname\n."), "hostile_pickle"),
        "two pickles": (repacked(pickle.dumps(text) + pickle.dumps(text)), "hostile_pickle"),
        "a pickle that is cut off": (repacked(pickle.dumps(text)[:-40]), "bad_json"),
        "a stream that is cut off": (base64.b64encode(base64.b64decode(good)[:-9]).decode(), "bad_json"),
        "something behind the stream": (base64.b64encode(base64.b64decode(good) + b"more").decode(), "bad_json"),
        "no base64": ("****", "bad_json"),
        "nothing": ("", "bad_json"),
        "text that is no JSON": (packed("print(1)"), "bad_json"),
        "JSON that is no list": (packed('{"input": ""}'), "bad_shape"),
        "a test without a kind": (packed('[{"input": "", "output": ""}]'), "unknown_kind"),
        "a number for an output": (packed('[{"input": "", "output": 1, "testtype": "stdin"}]'), "non_string"),
        "function tests next to stdin tests": (packed(json.dumps(typed([("1", "1")], "functional"))), "mixed_kinds"),
    }


def repacked(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data)).decode()
