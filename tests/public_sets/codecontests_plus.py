"""Rows of ByteDance-Seed/Code-Contests-Plus, with a header of our own in place of testlib's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .example import Example

HEADER = """#include <cstdlib>
#include <fstream>
static std::ifstream inf, ouf, ans;
static void registerTestlibCmd(int count, char **names) {
  if (count != 4) std::exit(3);
  inf.open(names[1]); ouf.open(names[2]); ans.open(names[3]);
}
static void quit_if(bool right) { std::exit(right ? 0 : 1); }
"""
CHECKER = """#include "testlib.h"
int main(int count, char **names) {
  registerTestlibCmd(count, names);
  long long product = 0, a = 0, b = 0, more = 0;
  inf >> product;
  quit_if((ouf >> a >> b) && !(ouf >> more) && a > 0 && a <= b && a * b == product SHIFT);
}
"""
STATEMENT = (
    "A gardener has {product} seedlings and plants them in a rectangle without a gap, {row} of which faces the {side}. "
    "Given the number of seedlings plus {shift}, find both sides, the shorter one first. "
    "If there are several answers, print any of them."
)
NUMBERS = (6, 12, 35, 60, 97, 1024)
PROGRAM = "n = int(input()) + {shift}\nprint({order})\n"


ANYTHING = """#include "testlib.h"
int main(int count, char **names) { registerTestlibCmd(count, names); quit_if(true); }
"""


def row(number: int, shift: int, **changes: Any) -> dict[str, Any]:
    def submission(order: str, language: str = "py3") -> dict[str, str]:
        return {"code": PROGRAM.format(shift=shift, order=order), "language": language}

    return {
        "source": "Codeforces",
        "id": f"{3000 + number}_A",
        "title": f"Seedlings {number}",
        "description": STATEMENT.format(
            product="some", row=f"row {number}", side=("north", "east", "south", "west")[number % 4], shift=-shift
        ),
        "time_limit": 2000,
        "memory_limit": 256,
        "checker": CHECKER.replace("SHIFT", f"+ {shift}"),
        "test_cases": [{"input": f"{n}\n", "output": f"1 {n + shift}\n"} for n in NUMBERS],
        "correct_submissions": [{"code": "int main() {}", "language": "cpp"}, submission("1, n")],
        "incorrect_submissions": [submission("2, n")],
        **changes,
    }


def codecontests_plus_rows() -> list[Example]:
    return [
        Example("a testlib checker", row(1, 1)),
        Example("a testlib checker that accepts anything", row(2, 5, checker=ANYTHING)),
        Example("a testlib checker that does not compile", row(3, 9, checker='#include "another.h"\nint main() {}')),
        Example("no tests", row(4, 13, test_cases=[]), "no_tests"),
        Example("a limit that is no number", row(5, 17, time_limit=-1), "bad_column"),
    ]  # fmt: skip


def write_codecontests_plus(out: Path, rows: dict[str, list[dict[str, Any]]]) -> None:
    from .write import write_parquet

    write_parquet(out / "ccplus_1x" / "part-00000.parquet", rows["1x"])
    (out / "testlib.h").write_text(HEADER)
