"""Rows of open-r1/codeforces, with checkers that are good and checkers that are not."""

from __future__ import annotations

from typing import Any

from .example import Example

# Two numbers whose sum is n; many are right.
STATEMENT = (
    "You are given $$$n$$$ ($$$1 \\le n \\le 10^5$$$). Find three whole numbers above 0 whose sum is "
    "$$$n + {number}$$$, in ascending order, where the {which} of them is as {how} as you like."
)
OUTPUT = "Print the three numbers. If there are several answers, print any of them."
CHECKER = """import sys

def main():
    n = int(open(sys.argv[1]).read())
    words = open(sys.argv[3]).read().split()
    if len(words) != 3 or not all(word.isdigit() for word in words):
        print(0)
        return
    numbers = list(map(int, words))
    print(1 if numbers == sorted(numbers) and numbers[0] > 0 and sum(numbers) == n + NUMBER else 0)

main()
"""
NUMBERS = (1, 2, 5, 9, 20, 77, 100)


def cases_of(number: int, numbers: tuple[int, ...] = NUMBERS) -> list[dict[str, str]]:
    return [{"input": f"{n}\r\n", "output": f"1 1 {n + number - 2}\n"} for n in numbers]


def row(number: int, which: str, how: str, **changes: Any) -> dict[str, Any]:
    """Problem ``number``: its sum is another, so that no two rows are one problem."""
    number += 2
    checker = changes.pop("generated_checker", CHECKER)
    return {
        "id": f"{1898 + number}/A",
        "contest_id": str(1898 + number),
        "contest_start": 1_690_000_000 + 86_400 * number,
        "title": f"Three Numbers {number}",
        "description": STATEMENT.format(number=number, which=which, how=how),
        "input_format": "The only line has $$$n$$$.",
        "output_format": OUTPUT,
        "interaction_format": None,
        "note": "A sum has one value.",
        "examples": cases_of(number, NUMBERS[:2]),
        "rating": 800 + 100 * number,
        "tags": ["greedy", "math"],
        "time_limit": 2.0,
        "memory_limit": 256.0,
        "executable": True,
        "official_tests": cases_of(number),
        "official_tests_complete": True,
        "input_mode": "stdio",
        "generated_checker": checker and checker.replace("NUMBER", str(number)),
        **changes,
    }


def loose(line: str) -> str:
    return CHECKER.replace(
        "    print(1 if numbers == sorted(numbers) and numbers[0] > 0 and sum(numbers) == n + NUMBER else 0)", line
    )


EVALUATED = CHECKER.replace(
    "words = open(sys.argv[3]).read().split()", "words = str(eval(open(sys.argv[3]).read())).split()"
)
SORTED = CHECKER.replace("numbers = list(map(int, words))", "numbers = sorted(map(int, words))")
STRICT = CHECKER.replace("numbers[0] > 0", "numbers[0] > 1")
CRASHING = CHECKER.replace("if len(words) != 3 or not all(word.isdigit() for word in words):", "if not words:")


def codeforces_rows() -> list[Example]:
    unique = "Print the sum of the numbers from 1 to n, for the {which} of {how} numbers n that follow each other."
    sums = [{"input": f"{n}\n", "output": f"{n * (n + 1) // 2}\n"} for n in NUMBERS]
    plain = {
        "generated_checker": None,
        "description": unique.format(which="first", how="all"),
        "output_format": "Print one number.",
        "examples": sums[:1],
        "official_tests": sums,
        "note": None,
    }
    return [
        Example("a good checker", row(1, "smallest", "odd")),
        Example("no checker, one answer", row(2, "", "", **plain)),
        Example("no checker, several answers", row(3, "middle", "even", generated_checker=None)),
        Example(
            "a checker that accepts anything",
            row(4, "largest", "round", generated_checker=loose("    print(1)").replace("print(0)", "print(1)")),
        ),
        Example("a checker that ignores the order", row(5, "second", "dull", generated_checker=SORTED)),
        Example("a checker that rejects the reference", row(6, "third", "plain", generated_checker=STRICT)),
        Example("a checker that crashes", row(7, "fourth", "long", generated_checker=CRASHING)),
        Example("a checker that runs the answer", row(8, "fifth", "short", generated_checker=EVALUATED)),
        Example("files", row(9, "sixth", "thin", input_mode="file", rating=None, tags=[])),
        Example(
            "tests cut off",
            row(10, "seventh", "wide", official_tests=cases_of(12, NUMBERS[:3]), official_tests_complete=False),
        ),
        Example("interactive", row(11, "eighth", "deep", interaction_format="Print ? to ask."), "interactive"),
        Example("an input mode that is unknown", row(12, "ninth", "high", input_mode="socket"), "unknown_kind"),
        Example("no tests", row(13, "tenth", "low", official_tests=[], examples=[]), "no_tests"),
        Example("a rating that is no number", row(14, "last", "kind", rating=-1), "bad_column"),
    ]


def codeforces_test_rows() -> list[Example]:
    other = {"description": "Read $$$n$$$ words of a song and print the one that the singers repeat most often of all."}
    return [Example("a row of the test split", row(20, "", "", input_format=None, output_format=None, **other))]


GENERATED = [
    {"problem_id": "1910/A", "input": f"{n}\n", "output": f"1 1 {n + 10}\n", "test_case_i": n} for n in (31, 32, 33, 34)
]
