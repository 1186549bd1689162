"""A job: one program and the tests it must pass, with every limit resolved. A backend answers it with a verdict."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ablate.errors import UserError
from ablate.types import Checker, Problem, TestCase, Verdict, VerdictKind

if TYPE_CHECKING:
    from ablate.config import VerifyConfig

WALL_MARGIN_S = 1.0  # so that a very small time limit still leaves time to start
CANCELLED = "cancelled"
BROKEN_TEST = "broken test"  # how the detail of such a verdict begins
ALIVE = "alive"  # what a supervisor says while it works on a job
ALIVE_EVERY_S = 5.0
job_numbers = itertools.count()
# "In any case, print ..." is another matter, so the sentence must speak of letters, of an answer or of its output.
ANY_CASE = re.compile(
    r"(?:letters?|characters?|answers?|strings?|words?|verdicts?|print|output|write|display)\b[^.!?\n]{0,80}?"
    r"\bin (?:any|either|arbitrary) (?:letter |upper or lower )?(?:case|register)\b"
    r"|\bcase[- ]insensitive"
    r"|\bcase (?:of (?:the |each )?letters? )?(?:does not|doesn't|is not|isn't) (?:matter|important)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Job:
    """One program and one problem's tests, limits resolved."""

    number: int
    program: str
    problem_id: str
    mode: str
    fn_name: str | None
    tests: Sequence[TestCase]  # StoredTests are decoded by the process that runs the job, at the first access
    float_tolerance: float | None
    time_limit_s: float
    wall_limit_s: float
    memory_limit_mib: int
    output_limit_kib: int
    disk_limit_mib: int
    max_processes: int
    max_tests: int | None
    comparison: str
    container: str
    prelude: str | None = None
    second_comparison: str | None = None
    case_insensitive: bool = False
    packages: tuple[str, ...] = ()  # with their versions
    wall_factor: float = 1.0
    time_scale: float | str = 1  # as configured; the limits of this job may be scaled already
    checker: Checker | None = None  # judges answers in place of ``comparison``
    checker_time_limit_s: float = 10.0  # CPU seconds for one answer
    checker_binary: str | None = None  # path of the compiled checker
    fresh: bool = False  # begin with a container started for this job


class BrokenTest(Exception):
    """A test that no program can pass or fail, because its input or its expected value is not what its mode needs."""


class Interrupted(Exception):
    """The result of this job is no longer needed: it was cancelled, or the verifier has ended."""


def accepts_any_case(choice: str, statement: str) -> bool:
    """Whether yes is as good an answer as YES, by ``verify.case_insensitive``."""
    return bool(ANY_CASE.search(statement)) if choice == "statement" else str(choice).lower() == "true"


def wall_limit_s(factor: float, time_limit_s: float) -> float:
    return factor * time_limit_s + WALL_MARGIN_S


def make_job(config: VerifyConfig, problem: Problem, program: str, packages: tuple[str, ...] = ()) -> Job:
    """Resolve a problem's own limits against the configuration.

    Args:
        packages: what ``verify.packages`` names, with the versions that were found.

    Raises:
        UserError: for a problem that cannot be verified.
    """
    if not problem.tests:
        raise UserError(f"problem {problem.id} has no tests, and a program that passes none proves nothing: add tests")
    if problem.input_mode not in ("stdin", "functional", "file"):
        raise UserError(f"problem {problem.id}: input_mode={problem.input_mode!r} is not stdin, functional or file")
    if problem.input_mode == "functional" and not problem.fn_name:
        raise UserError(f"problem {problem.id} is functional but names no function: set fn_name")
    time_limit_s = problem.time_limit_s or config.time_limit_s
    return Job(
        number=next(job_numbers),
        program=program,
        problem_id=problem.id,
        mode=problem.input_mode,
        fn_name=problem.fn_name,
        tests=problem.tests,
        float_tolerance=problem.float_tolerance,
        time_limit_s=time_limit_s,
        wall_limit_s=wall_limit_s(config.wall_factor, time_limit_s),
        memory_limit_mib=problem.memory_limit_mib or config.memory_limit_mib,
        output_limit_kib=config.output_limit_kib,
        disk_limit_mib=config.disk_limit_mib,
        max_processes=config.max_processes,
        max_tests=config.max_tests,
        comparison=config.comparison,
        container=config.container,
        prelude=config.prelude,
        second_comparison=config.second_comparison,
        packages=packages,
        case_insensitive=accepts_any_case(config.case_insensitive, problem.statement),
        wall_factor=config.wall_factor,
        time_scale=config.time_scale if isinstance(config.time_scale, str) else float(config.time_scale),
        checker=problem.checker,
        checker_time_limit_s=config.checker_time_limit_s,
    )


def hardest_first(job: Job) -> list[int]:
    """Indices of the tests to run, longest input first."""
    order = sorted(range(len(job.tests)), key=lambda index: -len(job.tests[index].input))
    return order[: job.max_tests]


def num_tests_run(job: Job) -> int:
    """How many tests a program of this job must pass; decodes none of them."""
    return len(job.tests) if job.max_tests is None else min(len(job.tests), job.max_tests)


def infrastructure_error(job: Job, detail: str) -> Verdict:
    """The verdict that says nothing about the program, with the reason."""
    return Verdict(VerdictKind.infrastructure_error, 0, num_tests_run(job), None, 0.0, 0.0, 0.0, detail)
