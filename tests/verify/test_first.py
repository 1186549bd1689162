"""The thin path: honest programs pass, wrong ones fail, on a real sandbox."""

from __future__ import annotations

from ablate.types import Problem, TestCase, VerdictKind

ADD = Problem("add", "", tuple(TestCase(f"{a} {a + 1}\n", f"{2 * a + 1}\n") for a in range(10)), "easy")


def test_an_honest_program_passes_every_test(verifier):
    verdict = verifier.submit(ADD, "a, b = map(int, input().split())\nprint(a + b)\n").result()
    assert (verdict.kind, verdict.num_passed, verdict.num_tests) == (VerdictKind.accepted, 10, 10)


def test_an_answer_without_a_program_is_no_code(verifier):
    assert verifier.submit_answer(ADD, "I would add them.").result().kind is VerdictKind.no_code
