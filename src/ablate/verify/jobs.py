"""What goes between the judge's process and a worker: a job one way, a report the other."""

from __future__ import annotations

import itertools
import pickle
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ablate.errors import UserError
from ablate.types import Problem, Verdict, VerdictKind

if TYPE_CHECKING:
    from ablate.config import VerifyConfig

WALL_MARGIN_S = 1.0  # so that a very small time limit still leaves time to start
CANCELLED = "cancelled"
job_numbers = itertools.count()


@dataclass(frozen=True)
class Job:
    """One program and one problem's tests, limits resolved."""

    number: int
    program: str
    problem_id: str
    mode: str
    fn_name: str | None
    tests: tuple[tuple[str, str], ...]  # input, expected output
    float_tolerance: float | None
    time_limit_s: float
    wall_limit_s: float
    memory_limit_mib: int
    output_limit_kib: int
    max_processes: int
    max_tests: int | None
    comparison: str
    container: str
    fresh: bool = False  # begin with a container started for this job


@dataclass
class Report:
    """What ``Verdict`` says, as plain values."""

    kind: str = "accepted"
    num_passed: int = 0
    num_tests: int = 0
    first_failed: int | None = None
    cpu_s: float = 0.0
    wall_s: float = 0.0
    peak_mib: float = 0.0
    detail: str = ""

    @property
    def is_infrastructure_error(self) -> bool:
        return self.kind == VerdictKind.infrastructure_error


def make_job(config: VerifyConfig, problem: Problem, program: str) -> Job:
    """Resolve a problem's own limits against the configuration.

    Raises:
        UserError: for a problem that cannot be judged.
    """
    if not problem.tests:
        raise UserError(f"problem {problem.id} has no tests, and a program that passes none proves nothing: add tests")
    if problem.input_mode not in ("stdin", "functional"):
        raise UserError(f"problem {problem.id}: input_mode={problem.input_mode!r} is not stdin or functional")
    if problem.input_mode == "functional" and not problem.fn_name:
        raise UserError(f"problem {problem.id} is functional but names no function: set fn_name")
    time_limit_s = problem.time_limit_s or config.time_limit_s
    return Job(
        number=next(job_numbers),
        program=program,
        problem_id=problem.id,
        mode=problem.input_mode,
        fn_name=problem.fn_name,
        tests=tuple((test.input, test.output) for test in problem.tests),
        float_tolerance=problem.float_tolerance,
        time_limit_s=time_limit_s,
        wall_limit_s=config.wall_factor * time_limit_s + WALL_MARGIN_S,
        memory_limit_mib=problem.memory_limit_mib or config.memory_limit_mib,
        output_limit_kib=config.output_limit_kib,
        max_processes=config.max_processes,
        max_tests=config.max_tests,
        comparison=config.comparison,
        container=config.container,
    )


def hardest_first(job: Job) -> list[int]:
    """Indices of the tests to run, longest input first."""
    order = sorted(range(len(job.tests)), key=lambda index: -len(job.tests[index][0]))
    return order[: job.max_tests]


def infrastructure_error(job: Job, detail: str) -> Report:
    return Report(VerdictKind.infrastructure_error.value, num_tests=len(hardest_first(job)), detail=detail)


def verdict_of(report: Report) -> Verdict:
    return Verdict(
        VerdictKind(report.kind),
        report.num_passed,
        report.num_tests,
        report.first_failed,
        report.cpu_s,
        report.wall_s,
        report.peak_mib,
        report.detail,
    )


def send_message(line: socket.socket, value: object) -> None:
    payload = pickle.dumps(value)
    line.sendall(struct.pack("<Q", len(payload)) + payload)


def receive_message(line: socket.socket) -> object | None:
    """The next message, None at the end of the line. Both ends are trusted: no program's bytes are unpickled."""
    header = receive_exactly(line, 8)
    payload = header and receive_exactly(line, struct.unpack("<Q", header)[0])
    return pickle.loads(payload) if payload else None


def receive_exactly(line: socket.socket, num_bytes: int) -> bytes | None:
    parts, missing = [], num_bytes
    while missing:
        part = line.recv(min(missing, 1 << 20))
        if not part:
            return None
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)
