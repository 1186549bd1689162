"""CPU time of a problem with a checker, relative to the same tests compared as text: paired, the same programs in turn.

    python -m benchmarks.checker [rounds=7] [programs=12]

30 small tests, a program that passes them, one worker. A round verifies the same number of programs without a checker,
with a Python checker and with a compiled one, in turn; printed are the median ratios and their ranges. A session of a
checker costs most, so what it adds to a larger program is less.
"""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import replace

from ablate.types import Checker, Problem, TestCase
from ablate.verify.verifier import Verifier, open_verifier
from benchmarks.verifier import PASSING, SETTLE_S, cpu_of_workers, own_cpu_s, settings

PYTHON = """import sys
expected, answer = (open(path).read().split() for path in sys.argv[2:4])
print(1 if expected == answer else 0)
"""
COMPILED = """#include <fstream>
#include <string>
int main(int count, char **names) {
  std::ifstream answer(names[2]), expected(names[3]);
  std::string a, b;
  while (expected >> b) if (!(answer >> a) || a != b) return 1;
  return answer >> a ? 1 : 0;
}
"""
TEXT = Problem("add", "", tuple(TestCase(f"{a} {a + 1}\n", f"{2 * a + 1}\n") for a in range(30)), "easy")
WAYS = {
    "as text": TEXT,
    "Python": replace(TEXT, checker=Checker("python", (("checker.py", PYTHON),))),
    "C++": replace(TEXT, checker=Checker("testlib", (("checker.cpp", COMPILED),))),
}


def cpu_of(verifier: Verifier, problem: Problem, count: int) -> float:
    """CPU seconds of the verifier and of all its processes for ``count`` programs."""

    def used() -> float:
        time.sleep(SETTLE_S)
        return own_cpu_s() + cpu_of_workers(verifier)

    before = used()
    for _ in range(count):
        verdict = verifier.submit(problem, PASSING).result()
        assert verdict.passed, verdict
    return used() - before


def main() -> None:
    words = dict(word.split("=", 1) for word in sys.argv[1:])
    rounds, count = int(words.get("rounds", 7)), int(words.get("programs", 12))
    ratios: dict[str, list[float]] = {name: [] for name in WAYS}
    with open_verifier(settings()) as verifier:
        for problem in WAYS.values():
            verifier.submit(problem, PASSING).result()
        for _ in range(rounds):
            seconds = {name: cpu_of(verifier, problem, count) for name, problem in WAYS.items()}
            for name, value in seconds.items():
                ratios[name].append(value / seconds["as text"])
            print({name: f"{1000 * value / count:.1f} ms" for name, value in seconds.items()}, flush=True)
    for name, found in ratios.items():
        print(f"{name:8} {statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})")


if __name__ == "__main__":
    main()
