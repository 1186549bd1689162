"""Contest packages in the format of ICPC and Kattis, of both versions, made here."""

from __future__ import annotations

from pathlib import Path

from .example import Example

LEGACY = "name: {name}\nlicense: cc by-sa\nsource: made here\nvalidation: {validation}\n{more}"
NEW = (
    "problem_format_version: 2023-07-draft\ntype: {type}\nname:\n  en: {name}\nlicense: public domain\nlimits:\n"
    "  time_limit: 2\n  memory: 512\n"
)
STATEMENT = """\\problemname{{{name}}}
% a comment that nobody reads
There are $n$ pegs in a row. {task}
\\section*{{Input}}
\\begin{{itemize}}
  \\item One line with $n$ ($1 \\leq n \\leq 10^5$), \\textbf{{the number of pegs}}.
\\end{{itemize}}
\\section*{{Output}}
{output}
"""
SPLIT = "Divide them into two groups, left and right."
SPLIT_OUTPUT = (
    "Two numbers that are at least 0: the sizes of the groups. If there are several answers, print any of them."
)
PYTHON_VALIDATOR = """import sys


def main():
    n = int(open(sys.argv[1]).read())
    words = sys.stdin.read().split()
    if len(words) != 2 or not all(word.isdigit() for word in words):
        sys.exit(43)
    sys.exit(42 if sum(map(int, words)) == n else 43)


main()
"""
CPP_VALIDATOR = """#include "own.h"
int main(int count, char **names) {
    std::ifstream in(names[1]);
    long long n, a, b; std::string more;
    in >> n;
    if (!(std::cin >> a >> b) || std::cin >> more || a < 0 || b < 0) return 43;
    return a + b == n ? 42 : 43;
}
"""
OWN_HEADER = "#include <fstream>\n#include <iostream>\n#include <string>\n"
GOOD, OTHER, BAD = (
    "n = int(input())\nprint(0, n)\n",
    "n = int(input())\nprint(n // 2, n - n // 2)\n",
    "n = int(input())\nprint(1, n)\n",
)
CRASH = "n = int(input())\nprint(n // (n % 10 - 5), n)\n"
NUMBERS = (1, 2, 3, 5, 8, 13, 100)
HALF = "How many pegs stand in the left half? Half of an odd number has a fraction."
HALF_OUTPUT = "One number, with an absolute or relative error of at most $10^{-6}$."


def pairs(name: str) -> list[tuple[str, str]]:
    """Tests of a package; no two packages have one in common."""
    first = 1000 * sum(map(ord, name))
    return [(f"{first + n}\n", f"0 {first + n}\n") for n in NUMBERS]


def package(facts: str, statement: str, tests: list[tuple[str, str]], files: dict[str, str]) -> dict[str, str]:
    """Texts of a package by path; the first test is the sample."""
    texts = {"problem.yaml": facts, "problem_statement/problem.en.tex": statement, **files}
    for number, (given, expected) in enumerate(tests):
        group = "sample" if number == 0 else "secret/group"
        texts |= {f"data/{group}/{number:02d}.in": given, f"data/{group}/{number:02d}.ans": expected}
    return texts


def split(name: str, validators: dict[str, str], facts: str = "", more: str = "", **submissions: str) -> dict[str, str]:
    files = {**validators, **{f"submissions/{path.replace('__', '/')}.py": text for path, text in submissions.items()}}
    facts = facts or LEGACY.format(name=name, validation="custom", more=more)
    task = SPLIT.replace(
        "left and right", f"{name} and the others, where peg {sum(map(ord, name))} is one of the {name}"
    )
    return package(facts, STATEMENT.format(name=name, task=task, output=SPLIT_OUTPUT), pairs(name), files)


def icpc_rows() -> list[Example]:
    python = {"output_validators/validate.py": PYTHON_VALIDATOR}
    cpp = {"output_validators/check/validate.cc": CPP_VALIDATOR, "output_validators/check/own.h": OWN_HEADER}
    halves = [(f"{n}\n", f"{n / 2:.9f}\n") for n in NUMBERS]
    half = STATEMENT.format(name="Halves", task=HALF, output=HALF_OUTPUT)
    default = LEGACY.format(name="Halves", validation="default", more="validator_flags: float_tolerance 1e-6\n")
    short = "n = int(input())\nprint(n / 2)\n"
    accepts = PYTHON_VALIDATOR.replace("43", "42")
    return [
        Example(
            "a validator in Python",
            split(
                "reds",
                python,
                accepted__a=GOOD,
                accepted__b=OTHER,
                wrong_answer__c=BAD,
                run_time_error__d=CRASH,
                time_limit_exceeded__e="while True: pass",
            ),
        ),
        Example("a validator in C++", split("blues", cpp, accepted__a=OTHER, wrong_answer__c=BAD)),
        Example(
            "the version of 2023",
            split(
                "greens",
                {"output_validator/validate.py": PYTHON_VALIDATOR, "submissions/submissions.yaml": ""},
                NEW.format(name="greens", type="pass-fail"),
                accepted__a=OTHER,
            ),
        ),
        Example(
            "the default validator with a tolerance",
            package(default, half, halves, {"submissions/accepted/a.py": short, ".timelimit": "3\n"}),
        ),
        Example("a wrong submission passes", split("whites", python, accepted__a=GOOD, wrong_answer__c=OTHER)),
        Example(
            "a validator that accepts anything",
            split("blacks", {"output_validators/validate.py": accepts}, accepted__a=GOOD),
        ),
        Example("an accepted submission fails", split("browns", python, accepted__a=BAD)),
        Example(
            "interactive",
            split(
                "greys", python, more="", facts=LEGACY.format(name="greys", validation="custom interactive", more="")
            ),
            "interactive",
        ),
        Example(
            "interactive of 2023",
            split("pinks", python, facts=NEW.format(name="pinks", type="interactive")),
            "interactive",
        ),
        Example(
            "points",
            split("golds", python, facts=LEGACY.format(name="golds", validation="custom score", more="")),
            "scored",
        ),
        Example(
            "a validator in Java",
            split("silvers", {"output_validators/Validate.java": "class Validate {}"}),
            "bad_checker",
        ),
        Example(
            "a flag that is unknown",
            package(default.replace("float_tolerance", "tolerant"), half, halves, {}),
            "bad_checker",
        ),
        Example(
            "no statement",
            {name: text for name, text in split("teals", python).items() if "statement" not in name},
            "empty_statement",
        ),
        Example("problem.yaml is no YAML", split("limes", python, facts="name: [\n"), "bad_shape"),
    ]


def write_icpc(out: Path, rows: dict[str, list[dict[str, str]]]) -> None:
    for number, texts in enumerate(rows["packages"]):
        for name, text in texts.items():
            path = out / f"package{number:02d}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
