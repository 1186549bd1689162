"""Published solutions under our own verifier: which tests a right program passes and a vacuous one fails."""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ablate.curate.candidate import Candidate, Details
from ablate.curate.trust import right_program, runs_text, tried_on, wrong_programs
from ablate.files.stored_tests import StoredTests
from ablate.types import Problem, TestCase, VerdictKind
from ablate.verify.verifier import Verifier

LIMITS = (VerdictKind.time_limit, VerdictKind.memory_limit)


@dataclass(frozen=True)
class Settled:
    """What running programs decided about one problem.

    Example: ``Settled(id="deepcoder/taco/7", reason=None, detail="", reference=0, is_other=False)``: kept, and its
    first reference passes every test.
    """

    id: str
    reason: str | None  # why it is not kept
    detail: str = ""
    reference: int | None = None  # index of the first reference that passes
    is_other: bool = False  # whether the other reading of the function outputs is the right one


class Unverified(Exception):
    """A program has no verdict: the verifier had an infrastructure error."""


class CheckerFails(Exception):
    """A checker did not say whether an answer is right; the message is its reason."""


def settle(candidate: Candidate, tests: StoredTests, other: StoredTests | None, verifier: Verifier) -> Settled:
    """Decide by running programs whether a problem is kept; ``decide`` has the rules."""
    try:
        return decide(candidate, tests, other, verifier)
    except CheckerFails as failure:
        return Settled(candidate.id, "checker_fails", str(failure)[:200])


def decide(candidate: Candidate, tests: StoredTests, other: StoredTests | None, verifier: Verifier) -> Settled:
    """Run references, the checker's trials, programs that solve nothing, and programs that the source calls wrong.

    A problem without references is kept, except where only a reference can tell what its tests mean.

    Raises:
        Unverified: when the verifier has no verdict; the problem stays undecided.
    """
    readings = [tests] if other is None else [tests, other]
    details = candidate.details()
    doubt = distrust(details, tests, verifier)
    if doubt is not None:
        return Settled(candidate.id, *doubt)
    runnable = [(index, text) for index, text in enumerate(candidate.reference_texts()) if is_python3(text)]
    if not runnable and (candidate.references or candidate.needs_reference):
        reason = "reference_not_python3" if candidate.references else "ambiguous_wrapping"
        return Settled(candidate.id, reason, f"none of {len(candidate.references)} references is Python 3")
    passing: list[tuple[int, int]] = []  # reading, reference
    kinds: list[VerdictKind] = []
    for number, reading in enumerate(readings):
        problem = details.problem_with(reading, None)
        for index, text in runnable:
            kind = verdict_of(verifier, problem, text)
            kinds.append(kind)
            if kind is VerdictKind.accepted:
                passing.append((number, index))
                break
    if runnable and len(passing) != 1:
        return Settled(candidate.id, *failure(kinds, len(passing)))
    reading, reference = passing[0] if passing else (0, None)
    chosen = readings[reading]
    for name, program in vacuous_programs(details.problem, chosen[0]):
        if verdict_of(verifier, details.problem_with(chosen, None), program) is VerdictKind.accepted:
            return Settled(candidate.id, "vacuous_tests", f"a program that {name} passes")
    for number, program in enumerate(details.wrong):
        if verdict_of(verifier, details.problem_with(chosen, None), program) is VerdictKind.accepted:
            return Settled(candidate.id, "wrong_submission_passes", f"number {number} of {len(details.wrong)}")
    return Settled(candidate.id, None, "", reference, is_other=reading == 1)


def distrust(details: Details, tests: StoredTests, verifier: Verifier) -> tuple[str, str] | None:
    """Why the problem's checker is not trusted, or None: it has none, or the default one, or a good one."""
    checker = details.checker
    if checker is None or checker.kind == "default":
        return None
    runs = runs_text(checker.files[0][1]) if checker.kind == "python" else None
    if runs is not None:
        return "checker_runs_text", f"it uses {runs}"
    problem = tried_on(details.problem_with(tests, None))
    if not problem.tests:
        return "checker_untested", "every test is too large to try its checker on"
    if verdict_of(verifier, problem, right_program(problem)) is not VerdictKind.accepted:
        return "checker_rejects_expected", "the expected output of a test"
    for reason, printed, program in wrong_programs(problem):
        if verdict_of(verifier, problem, program) is VerdictKind.accepted:
            return reason, f"a program that prints {printed}"
    return None


def failure(kinds: list[VerdictKind], num_readings_passed: int) -> tuple[str, str]:
    """The reason and the detail when no reference, or one for both readings, passes."""
    seen = ", ".join(dict.fromkeys(kind.value for kind in kinds))
    if num_readings_passed:
        return "ambiguous_wrapping", f"a reference passes both readings of the outputs ({seen})"
    slow = any(kind in LIMITS for kind in kinds)
    return "reference_too_slow" if slow else "reference_fails", seen


def verdict_of(verifier: Verifier, problem: Problem, program: str) -> VerdictKind:
    verdict = verifier.submit(problem, program).result()
    if verdict.is_infrastructure_error:
        if verdict.detail.startswith("the checker"):
            raise CheckerFails(verdict.detail)
        raise Unverified(f"{problem.id}: {verdict.detail}")
    return verdict.kind


def is_python3(program: str) -> bool:
    """Whether Python 3 can parse the program. It is not run."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            ast.parse(program)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return True


def vacuous_programs(problem: dict[str, object], first: TestCase) -> Iterator[tuple[str, str]]:
    """Programs that solve nothing, each with what it does."""
    if problem["input_mode"] == "functional":
        name = problem["fn_name"]
        yield "returns nothing", f"def {name}(*args): return None\n"
        yield "returns its argument", f"def {name}(*args): return args[0] if args else None\n"
        yield "returns one value", f"def {name}(*args): return {json.loads(first.output)!r}\n"
        return
    if problem["input_mode"] == "file":
        yield "writes nothing", "pass\n"
        yield "writes one answer", f"open('output.txt', 'w').write({first.output!r})\n"
        return
    yield "prints nothing", "pass\n"
    yield "prints its input", "import sys\nsys.stdout.write(sys.stdin.read())\n"
    yield "prints one answer", f"import sys\nsys.stdout.write({first.output!r})\n"


def with_outcome(candidate: Candidate, settled: Settled) -> Candidate:
    """The candidate with the tests that its reference passes, and with that reference alone."""
    chosen = () if settled.reference is None else (candidate.references[settled.reference],)
    if settled.is_other and candidate.other_tests is not None:
        return replace(candidate, references=chosen, tests=candidate.other_tests)
    return replace(candidate, references=chosen)
