"""``python -m ablate.verify cases=IN.jsonl out=OUT.jsonl``: verify submissions to problems, one JSON line each.

    python -m ablate.verify cases=answers.jsonl out=verdicts.jsonl
    python -m ablate.verify cases=answers.jsonl out=verdicts.jsonl extract=true verify.workers=8

A line holds a problem with its tests and the submissions; extract=true takes the program out of a response, and
recheck=N verifies everything N times more and says how often a verdict changed. Other words override conf/verify.
A second run continues: a hash of its program, tests, limits and comparison identifies a submission. A broken input line
is reported with its number and the others are verified. A submission with an infrastructure error is verified
again by the next run.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter, deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from ablate.cli import CONF_DIR, print_help_if_asked, run_main, stop
from ablate.config import VerifyConfig, section
from ablate.data.submissions import Submission, read_submissions
from ablate.errors import UserError
from ablate.types import Problem, Verdict
from ablate.verify.cache import verdict_key
from ablate.verify.choices import check_verify
from ablate.verify.jobs import make_job
from ablate.verify.verdict_file import keep_finished, verdict_row
from ablate.verify.verifier import Verifier, open_verifier

BAR_WIDTH = 30


@dataclass
class Bar:
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
            drawn = "#" * filled + "." * (BAR_WIDTH - filled)
            self.stream.write(f"\r[{drawn}] {done}/{self.total}  {self.kinds['accepted']} accepted ")
            self.stream.flush()

    def close(self, num_known: int, num_broken: int) -> None:
        elapsed_s = time.monotonic() - self.started
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kinds.items())) or "nothing to verify"
        self.stream.write("\n" if self.stream.isatty() else "")
        self.stream.write(f"{self.kinds.total()} submissions in {elapsed_s:.1f} s: {kinds}")
        self.stream.write(f"; {num_known} known from before" if num_known else "")
        self.stream.write(f"; {num_broken} broken lines or entries left out" if num_broken else "")
        self.stream.write("\n")


def verify_all(verifier: Verifier, pending: list[tuple[Submission, str]], extract: bool, out: Path) -> Bar:
    """Verify, and append each verdict in input order as soon as the verdicts before it are written."""
    bar = Bar(len(pending))
    waiting: deque[tuple[Submission, str, Future[Verdict]]] = deque()
    with out.open("a", encoding="utf-8") as file:

        def write_first() -> None:
            submission, key, future = waiting.popleft()
            verdict = future.result()
            file.write(json.dumps(verdict_row(submission.problem.id, submission.file, key, verdict)) + "\n")
            file.flush()
            bar.add(verdict.kind.value)

        submit = verifier.submit_answer if extract else verifier.submit
        for submission, key in pending:
            waiting.append((submission, key, submit(submission.problem, submission.code)))
            while waiting and waiting[0][2].done():
                write_first()
        while waiting:
            write_first()
    return bar


def flake_rate(verifier: Verifier, cases: list[tuple[Problem, str]], repeats: int) -> float:
    """Verify every program ``repeats`` times, without the cache: the share with verdicts of more than one kind."""
    runs = [[verifier.submit(*case, use_cache=False) for _ in range(repeats)] for case in cases]
    kinds = [{future.result().kind for future in futures} for futures in runs]
    return sum(len(different) > 1 for different in kinds) / max(len(kinds), 1)


def recheck_all(verifier: Verifier, submissions: list[Submission], extract: bool, times: int) -> None:
    """Print the share of submissions whose verdict is not the same every time; never from the cache."""
    programs = [(s.problem, verifier.program_of(s.code) if extract else s.code) for s in submissions]
    known = [(problem, program) for problem, program in programs if program is not None]
    rate = flake_rate(verifier, known, times)
    print(f"flake rate: {rate:.4f} of {len(known)} submissions, each verified {times} times more", file=sys.stderr)


def verify_cases(config: VerifyConfig, cases: Path, out: Path, extract: bool, recheck: int = 0) -> None:
    """Verify every submission of ``cases`` that ``out`` does not hold yet, and all of them ``recheck`` times more.

    Raises:
        UserError: if there is no such file, or no sandbox on this machine.
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
        Bar(0).close(num_known=len(keyed), num_broken=num_broken)
        if num_broken and not keyed:
            raise UserError(f"cases={cases} has no line that can be verified: the lines above say what each one lacks")
        return
    with open_verifier(config) as verifier:
        verify_all(verifier, pending, extract, out).close(len(keyed) - len(pending), num_broken)
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
    verify_cases(verify, Path(str(config["cases"])), Path(str(config["out"])), config["extract"], config["recheck"])


def main() -> None:
    print_help_if_asked(__doc__)
    import hydra
    from omegaconf import DictConfig, OmegaConf

    @hydra.main(version_base="1.3", config_path=CONF_DIR, config_name="verify")
    def run(config: DictConfig) -> None:
        try:
            run_configured(OmegaConf.to_container(config, resolve=True))
        except UserError as error:
            stop(str(error))  # here, because Hydra would first say a line of its own

    run_main(run)


if __name__ == "__main__":
    main()
