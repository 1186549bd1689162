"""``python -m ablate.judge cases=IN.jsonl out=OUT.jsonl``: judge submissions to problems, one JSON line each.

A second run continues: a submission is known by a key over its program, tests, limits and comparison. A broken input
line is reported with its number and the rest goes on. Infrastructure errors are no verdicts: they are judged again.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from ablate.cli import CONF_DIR, run_main, stop
from ablate.config import VerifyConfig, section
from ablate.errors import UserError
from ablate.files import write_atomic
from ablate.types import Problem, TestCase, Verdict, VerdictKind
from ablate.verify.cache import verdict_key
from ablate.verify.choices import check_verify
from ablate.verify.jobs import make_job
from ablate.verify.verifier import Verifier, open_verifier

BAR_WIDTH = 30


@dataclass(frozen=True)
class Submission:
    problem: Problem
    file: str
    code: str


class BrokenLine(Exception):
    """An input line that cannot be judged; the message says why."""


def text_field(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        raise BrokenLine(f"field {name!r} must be text, not {json.dumps(value)[:60]}")
    return value


def number_field(row: dict[str, Any], name: str) -> float | None:
    """A number above 0, or None where it is absent, null or 0."""
    value = row.get(name)
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool) and value >= 0):
        return value or None
    raise BrokenLine(f"field {name!r} must be a number or null, not {json.dumps(value)[:60]}")


def rows_of(row: dict[str, Any], name: str) -> list[dict[str, Any]]:
    rows = row.get(name)
    if not isinstance(rows, list) or not rows or not all(isinstance(entry, dict) for entry in rows):
        raise BrokenLine(f"field {name!r} must be a list of at least one object")
    return rows


def parse_line(line: bytes) -> tuple[Problem, list[dict[str, Any]]]:
    """One input line as a problem and its still unchecked submissions."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BrokenLine(f"not JSON: {error}") from error
    if not isinstance(row, dict):
        raise BrokenLine("not a JSON object")
    mode = row.get("input_mode") or "stdin"
    if mode not in ("stdin", "functional"):
        raise BrokenLine(f"field 'input_mode' must be stdin or functional, not {json.dumps(mode)[:60]}")
    problem = Problem(
        id=text_field(row, "id"),
        statement="",
        tests=tuple(TestCase(text_field(test, "input"), text_field(test, "output")) for test in rows_of(row, "tests")),
        difficulty="",
        input_mode=mode,
        fn_name=text_field(row, "fn_name") if mode == "functional" else None,
        float_tolerance=number_field(row, "float_tolerance"),
        time_limit_s=number_field(row, "time_limit_s"),
        memory_limit_mib=number_field(row, "memory_limit_mib"),
    )
    return problem, rows_of(row, "submissions")


def read_submissions(cases: Path, complain: Any) -> Iterator[Submission]:
    """All submissions of a file in order; ``complain(line number, reason)`` hears of broken ones."""
    with cases.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                problem, submissions = parse_line(line)
            except BrokenLine as reason:
                complain(number, str(reason))
                continue
            for entry in submissions:
                try:
                    yield Submission(problem, text_field(entry, "file"), text_field(entry, "code"))
                except BrokenLine as reason:
                    complain(number, f"in submissions: {reason}")


def verdict_row(submission: Submission, key: str, verdict: Verdict) -> dict[str, Any]:
    return {
        "id": submission.problem.id,
        "file": submission.file,
        "verdict": verdict.kind.value,
        "passed": verdict.passed,
        "num_passed": verdict.num_passed,
        "num_tests": verdict.num_tests,
        "first_failed": verdict.first_failed,
        "cpu_s": round(verdict.cpu_s, 6),
        "wall_s": round(verdict.wall_s, 6),
        "peak_mib": round(verdict.peak_mib, 3),
        "detail": verdict.detail,
        "key": key,
    }


def keep_finished(out: Path) -> set[str]:
    """Drop what an earlier run left half-written or could not judge; return the keys of the rest."""
    kept, keys = [], set()
    lines = out.read_bytes().splitlines(keepends=True) if out.exists() else []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            finished = row["verdict"] != VerdictKind.infrastructure_error
            if finished:
                keys.add(row["key"])
        except (ValueError, KeyError, TypeError) as error:
            is_torn = number == len(lines) and line.startswith(b"{") and not line.endswith(b"\n")
            if is_torn and isinstance(error, ValueError):
                continue
            raise UserError(
                f"out={out} holds something else than verdicts (line {number}), and would be written over: "
                "name another file, or remove this one"
            ) from None
        if finished:
            kept.append(line)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(out, b"".join(kept).decode())
    return keys


@dataclass
class Progress:
    """A bar on a terminal, a closing line everywhere."""

    total: int
    stream: TextIO = sys.stderr
    started: float = field(default_factory=time.monotonic)
    kinds: Counter[str] = field(default_factory=Counter)

    def add(self, kind: str) -> None:
        self.kinds[kind] += 1
        if self.stream.isatty():
            done = self.kinds.total()
            filled = BAR_WIDTH * done // max(self.total, 1)
            bar = "#" * filled + "." * (BAR_WIDTH - filled)
            self.stream.write(f"\r[{bar}] {done}/{self.total}  {self.kinds['accepted']} accepted ")
            self.stream.flush()

    def close(self, num_known: int, num_broken: int) -> None:
        elapsed_s = time.monotonic() - self.started
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kinds.items())) or "nothing to judge"
        self.stream.write("\n" if self.stream.isatty() else "")
        self.stream.write(f"{self.kinds.total()} submissions in {elapsed_s:.1f} s: {kinds}")
        self.stream.write(f"; {num_known} known from before" if num_known else "")
        self.stream.write(f"; {num_broken} broken lines or entries left out" if num_broken else "")
        self.stream.write("\n")


def judge_all(verifier: Verifier, pending: list[tuple[Submission, str]], extract: bool, out: Path) -> Progress:
    """Judge and append in input order, as soon as each line's turn has come."""
    progress = Progress(len(pending))
    waiting: deque[tuple[Submission, str, Future[Verdict]]] = deque()
    with out.open("a", encoding="utf-8") as file:

        def write_first() -> None:
            submission, key, future = waiting.popleft()
            verdict = future.result()
            file.write(json.dumps(verdict_row(submission, key, verdict)) + "\n")
            file.flush()
            progress.add(verdict.kind.value)

        submit = verifier.submit_answer if extract else verifier.submit
        for submission, key in pending:
            waiting.append((submission, key, submit(submission.problem, submission.code)))
            while waiting and waiting[0][2].done():
                write_first()
        while waiting:
            write_first()
    return progress


def flake_rate(verifier: Verifier, cases: list[tuple[Problem, str]], repeats: int) -> float:
    """Verify every program ``repeats`` times, without the cache: the share with verdicts of more than one kind."""
    runs = [[verifier.submit(*case, use_cache=False) for _ in range(repeats)] for case in cases]
    kinds = [{future.result().kind for future in futures} for futures in runs]
    return sum(len(different) > 1 for different in kinds) / max(len(kinds), 1)


def recheck_all(verifier: Verifier, submissions: list[Submission], extract: bool, times: int) -> None:
    """Print the share of submissions whose verdict is not the same every time; never from the cache."""
    programs = [(s.problem, verifier.program_of(s.code) if extract else s.code) for s in submissions]
    judged = [(problem, program) for problem, program in programs if program is not None]
    rate = flake_rate(verifier, judged, times)
    print(f"flake rate: {rate:.4f} of {len(judged)} submissions, each judged {times} times more", file=sys.stderr)


def judge(config: VerifyConfig, cases: Path, out: Path, extract: bool, recheck: int = 0) -> None:
    """Judge every submission of ``cases`` that ``out`` does not hold yet, and all of them ``recheck`` times more.

    Raises:
        UserError: no such file, or no sandbox on this machine.
    """
    if not cases.is_file():
        raise UserError(f"cases={cases} is not a file: give a JSONL of problems with submissions")
    num_broken = 0

    def complain(number: int, reason: str) -> None:
        nonlocal num_broken
        num_broken += 1
        print(f"{cases}:{number}: {reason}: left out", file=sys.stderr)

    check_verify(config)
    submissions = list(read_submissions(cases, complain))
    known = keep_finished(out)
    keyed = [
        (submission, verdict_key(make_job(config, submission.problem, submission.code), extract))
        for submission in submissions
    ]
    pending = [(submission, key) for submission, key in keyed if key not in known]
    if not pending and not recheck:
        Progress(0).close(num_known=len(keyed), num_broken=num_broken)
        return
    with open_verifier(config) as verifier:
        judge_all(verifier, pending, extract, out).close(len(keyed) - len(pending), num_broken)
        if recheck:
            recheck_all(verifier, submissions, extract, recheck)


def run_configured(config: dict[str, Any]) -> None:
    for key in ("cases", "out"):
        if config[key] in (None, "???"):
            raise UserError(f"{key} is missing: give {key}=FILE.jsonl")
    if not isinstance(config["extract"], bool):
        raise UserError(f"extract must be true or false, not {config['extract']}")
    if not isinstance(config["recheck"], int) or config["recheck"] < 0:
        raise UserError(f"recheck must be a whole number of 0 or more, not {config['recheck']}")
    verify = section(VerifyConfig, config["verify"], "verify")
    judge(verify, Path(str(config["cases"])), Path(str(config["out"])), config["extract"], config["recheck"])


def main() -> None:
    import hydra
    from omegaconf import DictConfig, OmegaConf

    @hydra.main(version_base="1.3", config_path=CONF_DIR, config_name="judge")
    def run(config: DictConfig) -> None:
        try:
            run_configured(OmegaConf.to_container(config, resolve=True))
        except UserError as error:
            stop(str(error))  # here, because Hydra would first say a line of its own

    run_main(run)


if __name__ == "__main__":
    main()
