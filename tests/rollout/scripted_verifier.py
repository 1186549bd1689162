"""A verifier that answers by a rule, so that a test chooses the verdicts."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from zlib import crc32

from ablate.types import Verdict, VerdictKind


def verdict(kind: VerdictKind) -> Verdict:
    return Verdict(kind, num_passed=0, num_tests=1, first_failed=None, cpu_s=0.0, wall_s=0.0, peak_mib=0.0)


class ScriptedVerifier:
    """Answers by ``rule(problem, text) -> VerdictKind``, at once or from threads that answer in another order."""

    def __init__(self, rule, threads: ThreadPoolExecutor | None = None):
        self.rule = rule
        self.threads = threads
        self.asked: list[tuple[str, str]] = []

    def submit_answer(self, problem, text):
        self.asked.append((problem.id, text))
        if self.threads is not None:
            return self.threads.submit(lambda: verdict(self.rule(problem, text)))
        future = Future()
        future.set_result(verdict(self.rule(problem, text)))
        return future


def by_text(problem, text):
    """A program passes or not by its text alone, about half of them."""
    return VerdictKind.accepted if crc32(text.encode()) % 2 else VerdictKind.wrong_answer


def by_problem(**kinds):
    """``by_problem(p1="accepted")``: every program of p1 is accepted, others pass or fail by their text."""
    return lambda problem, text: VerdictKind(kinds[problem.id]) if problem.id in kinds else by_text(problem, text)
