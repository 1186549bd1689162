"""Contest packages through our reader, sandbox and checkers: does every submission get its contest's verdict?

    python -m benchmarks.contest_packages DIR [time_factor=2]

DIR holds packages in the ICPC or Kattis format at any depth. Every Python submission of one file runs on all tests of
its package, under the package's own limits and output validator. One of ``accepted`` must pass, one of another
directory must fail; where the directory names a failure, the kind of the first one is compared as well.
Printed are one line for each package, and every verdict that is another one. Where a package has a validator or flags,
its submissions are also compared as text: how many verdicts change is what the checker is worth. ``time_factor``
multiplies the packages' time limits, which were set on another machine and often for other languages.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

from ablate.sources.base import RawRow, Row, decoded
from ablate.sources.icpc import Icpc, submissions
from ablate.verify.verifier import Verifier, open_verifier
from benchmarks.verifier import settings

DIRECTORIES = {
    "accepted": {"accepted"},
    "wrong_answer": {"wrong_answer", "output_limit"},
    "time_limit_exceeded": {"time_limit"},
    "run_time_error": {"runtime_error", "memory_limit"},
    "partially_accepted": set(),  # any failure
    "rejected": set(),
}


def read_package(number: int, fields: dict[str, str]) -> Row | str:
    """A package, or why the reader rejects it."""
    row = decoded(Icpc(), RawRow("icpc", "packages", number, None, fields))
    return row if isinstance(row, Row) else f"{row.reason} ({row.detail})"


def verdicts_of(verifier: Verifier, package: Path, row: Row, factor: float) -> Counter[str]:
    """How many submissions were judged as their contest did, by another kind of failure, or otherwise."""
    problem = row.problem()
    if problem.time_limit_s:
        problem = replace(problem, time_limit_s=factor * problem.time_limit_s)
    programs = [(name, text) for name in DIRECTORIES for text in submissions(package, (name,))]
    jobs = [(name, verifier.submit(problem, text)) for name, text in programs]
    found: Counter[str] = Counter()
    if problem.checker and (problem.checker.files or problem.checker.flags):
        as_text = [verifier.submit(replace(problem, checker=None, float_tolerance=None), text) for _, text in programs]
        for (_, job), other in zip(jobs, as_text, strict=True):
            found["changed by the checker"] += job.result().passed != other.result().passed
    for name, job in jobs:
        verdict = job.result()
        expected = DIRECTORIES[name]
        if verdict.is_infrastructure_error:
            found["infrastructure"] += 1
        elif verdict.passed != (name == "accepted"):
            found["other"] += 1
        else:
            found["right" if verdict.kind.value in expected or not expected else "another failure"] += 1
        if verdict.kind.value not in expected and (expected or verdict.passed):
            where = f"test {verdict.first_failed} of {verdict.num_tests}"
            print(f"  {row.id}: {name}: {verdict.kind.value}, {where}, {verdict.cpu_s:.1f} s {verdict.detail[:100]}")
    return found


def main() -> None:
    directory, words = Path(sys.argv[1]), dict(word.split("=", 1) for word in sys.argv[2:])
    total: Counter[str] = Counter()
    rejected: Counter[str] = Counter()
    with open_verifier(settings(workers=2, retries=0, memory_limit_mib=2048)) as verifier:
        for number, fields in enumerate(Icpc().records(directory, "packages")):
            row = read_package(number, fields)
            if isinstance(row, str):
                rejected[row.split(" ")[0]] += 1
                print(f"{fields['name']}: rejected: {row}")
                continue
            found = verdicts_of(verifier, Path(fields["package"]), row, float(words.get("time_factor", 1)))
            total += found
            kind = "no checker" if row.checker is None else f"{row.checker.kind} {' '.join(row.checker.flags)}".strip()
            print(f"{row.id}: {kind}, {len(row.tests)} tests: {dict(found) or 'no Python submission'}", flush=True)
            total["packages"] += 1
            total[f"packages, {kind.split(' ')[0]}{' with flags' if row.checker and row.checker.flags else ''}"] += 1
    print(f"{dict(total)}; rejected {dict(rejected)}")


if __name__ == "__main__":
    main()
