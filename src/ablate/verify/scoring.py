"""From what the watcher of a test saw to a verdict: the same rules for every backend. Runs outside the sandbox only."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace

from ablate.types import Verdict, VerdictKind
from ablate.verify import compare, validator
from ablate.verify.checker import SAID, Judged
from ablate.verify.inside.test_report import BROKEN_INPUT, TestReport
from ablate.verify.jobs import BROKEN_TEST, BrokenTest, Job, hardest_first
from ablate.verify.shown import cut, printed, returned

Judge = Callable[[Job, int, bytes], Judged]  # takes the index of a test and the output to judge
MIB = 1 << 20
UNCOUNTED_MIB = 512  # address space that thread arenas and libraries reserve without using it
LOOK_EVERY_S = 0.05  # for memory where no control group limits it, and for time in which the program does not run
STARVED_FACTOR = 5  # times the wall limit: a test that waited for a processor that long is given up, not scored
MOST_BYTES = 4  # of a right answer, for each character of the expected one: long characters, or blanks around tokens
GRACE_S = 10.0  # beyond that time, before the sandbox counts as broken
NOT_THE_TESTS_FAULT = (VerdictKind.infrastructure_error, VerdictKind.compile_error)


@dataclass(frozen=True)
class Outcome:
    """One test, scored."""

    kind: VerdictKind
    detail: str = ""
    cpu_s: float = 0.0
    peak_mib: float = 0.0
    passed_second: bool = False  # by ``verify.second_comparison``
    got: str | None = None  # of a failed test: the beginning of its output


def limits_of(job: Job, watched: bool) -> dict:
    """What the sandbox must know of a job; holds no test.

    Args:
        watched: whether the watcher must measure memory, because no control group does.
    """
    memory_bytes = job.memory_limit_mib * MIB
    return {
        "mode": job.mode,
        "fn_name": job.fn_name,
        "prelude": job.prelude,
        "has_packages": bool(job.packages),
        "cpu_s": job.time_limit_s,
        "wall_s": job.wall_limit_s,
        "starved_s": STARVED_FACTOR * job.wall_limit_s,
        "look_every_s": LOOK_EVERY_S,
        "memory_bytes": memory_bytes if watched else None,
        "address_space_bytes": memory_bytes + UNCOUNTED_MIB * MIB,
        "output_bytes": max(output_limit(job, test.output) for test in job.tests),
        "max_processes": job.max_processes,
        "disk_bytes": job.disk_limit_mib * MIB,
    }


def output_limit(job: Job, expected: str) -> int:
    """How many bytes a program may print or return in a test: a right answer has room, however long it is."""
    return max(job.output_limit_kib * 1024, MOST_BYTES * len(expected))


def longest_wait_s(job: Job) -> float:
    """How long one test, or the compilation, may take on the busiest machine before its sandbox counts as broken."""
    return STARVED_FACTOR * job.wall_limit_s + GRACE_S


def run_in_order(job: Job, run_test: Callable[[int, int], Outcome]) -> Verdict:
    """Run the hardest tests first, and stop at the first that neither of the job's comparisons accepts.

    Args:
        run_test: takes the position in that order and the index into ``job.tests``.

    Returns:
        A verdict whose ``wall_s`` is 0: only the backend knows when its job began.
    """
    order = hardest_first(job)
    verdict = Verdict(VerdictKind.accepted, len(order), len(order), None, 0.0, 0.0, 0.0)
    passed_second = None if job.second_comparison is None else True
    cpu_s = peak_mib = 0.0
    for position, index in enumerate(order):
        outcome = run_test(position, index)
        cpu_s += outcome.cpu_s
        peak_mib = max(peak_mib, outcome.peak_mib)
        is_first_failure = verdict.passed and outcome.kind is not VerdictKind.accepted
        if is_first_failure or outcome.kind is VerdictKind.infrastructure_error:
            verdict = Verdict(outcome.kind, position, len(order), None, 0.0, 0.0, 0.0, outcome.detail)
            if outcome.kind not in NOT_THE_TESTS_FAULT:
                test = job.tests[index]
                texts = {"failed_input": cut(test.input), "expected": cut(test.output), "got": outcome.got}
                verdict = replace(verdict, first_failed=index, **texts)
        passed_second = passed_second and outcome.passed_second
        if verdict.is_infrastructure_error or not (verdict.passed or passed_second):
            break
    if verdict.is_infrastructure_error:
        passed_second = None
    return replace(verdict, cpu_s=cpu_s, peak_mib=peak_mib, passed_second=passed_second)


def without_checkers(job: Job, index: int, answer: bytes) -> Judged:
    return Judged(None, "this backend runs no checkers")


def score(
    job: Job,
    index: int,
    report: TestReport,
    output: int,
    result: int,
    out_of_memory: bool,
    judge: Judge = without_checkers,
) -> Outcome:
    """Score one test.

    A program that ends itself with another status than 0, as ``sys.exit(3)`` does, has failed, but not by the
    comparison ``lcb``: LiveCodeBench compares its output like that of any other program.

    Args:
        output: descriptor of the file that was the test's standard output.
        result: descriptor of the file for a function's returned value and for an exception's last words.
        out_of_memory: whether the kernel ended a process of this test because its control group was full.
        judge: asks the job's checker about the output of a test that ended well; a backend may have none.
    """
    if not report.is_confined:  # the program has not run
        if report.complaint.startswith(BROKEN_INPUT):
            return broken_test(job, index, f"{report.complaint}: correct it, or remove the test")
        return Outcome(VerdictKind.infrastructure_error, f"a test could not be confined: {report.complaint}")
    used = report.cpu_s, report.peak_kib / 1024
    failure = failure_of(job, index, report, (output, result), out_of_memory)
    by_exit = failure is not None and failure[0] is VerdictKind.runtime_error and called_exit(report.status, result)
    expected = job.tests[index].output

    def passes(comparison: str | None) -> bool:
        if comparison is None or (failure is not None and not (by_exit and comparison == "lcb")):
            return False
        return agrees(job, comparison, output, result, expected)

    passed = passed_second = False
    try:
        if failure is not None and job.mode == "functional":
            compare.check_expected(expected)  # a test that cannot be passed decides nothing
        passed_second = passes(job.second_comparison)
        if job.checker is None:
            passed = passes(job.comparison)
        elif failure is None:
            judged = by_checker(job, index, output, judge)
            if judged.accepted is None:
                return Outcome(VerdictKind.infrastructure_error, SAID + judged.reason, *used)
            passed = judged.accepted
    except compare.ComparisonTooSlow as error:
        failure = VerdictKind.time_limit, str(error)
    except BrokenTest as error:
        return broken_test(job, index, str(error))
    if passed:
        return Outcome(VerdictKind.accepted, "", *used, passed_second)
    return Outcome(
        *(failure or (VerdictKind.wrong_answer, "")), *used, passed_second, shown_answer(job, output, result)
    )


def broken_test(job: Job, index: int, why: str) -> Outcome:
    return Outcome(VerdictKind.infrastructure_error, f"{BROKEN_TEST} {index} of problem {job.problem_id}: {why}")


def by_checker(job: Job, index: int, output: int, judge: Judge) -> Judged:
    """What the job's checker makes of a test's output; the validator without files is compared right here."""
    answer = read_all(output)
    if job.checker.kind != "default":
        return judge(job, index, answer)
    try:
        return Judged(validator.accepts(validator.rules_of(job.checker.flags), answer, job.tests[index].output))
    except ValueError as error:
        return Judged(None, str(error))


def shown_answer(job: Job, output: int, result: int) -> str:
    return returned(result) if job.mode == "functional" else printed(output)


def failure_of(
    job: Job, index: int, report: TestReport, files: tuple[int, int], out_of_memory: bool
) -> tuple[VerdictKind, str] | None:
    """Why the test failed, before its answer is compared; None when it ended well.

    The memory limit holds for all processes of a test together. A parent that answers well after the kernel killed its
    children, or after one of them used too much, fails like any other program.
    """
    status, stopped = report.status, report.stopped
    if stopped == "memory" or out_of_memory:
        return VerdictKind.memory_limit, "out of memory"
    if report.peak_kib > job.memory_limit_mib * 1024:
        return VerdictKind.memory_limit, f"{report.peak_kib / 1024:.0f} MiB in one process"
    if stopped == "cpu" or report.cpu_s > job.time_limit_s:
        return VerdictKind.time_limit, f"{report.cpu_s:.2f} s of CPU"
    if stopped == "starved":
        return VerdictKind.infrastructure_error, f"the machine starved the program for {report.run_wait_s:.1f} s"
    if stopped == "wall":
        return VerdictKind.time_limit, f"{report.wall_s:.2f} s of wall time"
    limit = output_limit(job, job.tests[index].output)
    if max(os.fstat(file).st_size for file in files) > limit:
        return VerdictKind.output_limit, f"more than {limit // 1024} KiB of output"
    note = os.pread(files[1], 2000, 0) if status else b""
    if status and note[:1] == b"M":
        return VerdictKind.memory_limit, "MemoryError"
    if os.WIFSIGNALED(status):
        return VerdictKind.runtime_error, f"signal {os.WTERMSIG(status)}"
    if status:
        return VerdictKind.runtime_error, readable(note) or f"exit status {os.WEXITSTATUS(status)}"
    return None


def called_exit(status: int, result: int) -> bool:
    """Whether the program itself ended with this status, by SystemExit; LiveCodeBench counts that as a normal end."""
    return os.WIFEXITED(status) and os.pread(result, 8, 0) == b"S%d" % os.WEXITSTATUS(status)


def readable(note: bytes) -> str:
    """The program's own last words, which may be anything."""
    try:
        text = json.loads(note[1:])
    except ValueError:
        return ""
    return text[:400] if isinstance(text, str) else ""


def agrees(job: Job, comparison: str, output: int, result: int, expected: str) -> bool:
    """Whether the answer is the expected one, by ``comparison``.

    Raises:
        ComparisonTooSlow: when the comparison alone exceeds a test's time limit by more than ``GRACE_S``.
        BrokenTest: when the expected value is no JSON.
    """
    limit_s = job.time_limit_s + GRACE_S
    if job.mode == "functional":
        returned = read_all(result)
        tolerance = None if comparison == "lcb" else job.float_tolerance  # LiveCodeBench knows none
        if returned[:1] != b"R":
            compare.check_expected(expected)
            return False
        return compare.compare_json(returned[1:], expected, tolerance, limit_s)
    texts = read_all(output), expected
    return compare.COMPARISONS[comparison](*texts, job.float_tolerance, job.case_insensitive, limit_s)


def read_all(descriptor: int) -> bytes:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
