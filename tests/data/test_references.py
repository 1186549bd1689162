import pytest

from ablate.cli import compose
from ablate.config import parse
from ablate.data.problems import load_problems
from ablate.types import VerdictKind
from ablate.verify.verifier import open_verifier

PROBLEMS = [*load_problems("shipped:tiny_train.jsonl"), *load_problems("shipped:tiny_eval.jsonl")]


@pytest.fixture(scope="module")
def verdicts():
    with open_verifier(parse(compose(["model=tiny", "verify=local"])).verify) as verifier:
        futures = {problem.id: verifier.submit(problem, problem.reference) for problem in PROBLEMS}
        # A program that is right for another problem: the tests must tell them apart in the sandbox, too.
        other = verifier.submit(PROBLEMS[0], PROBLEMS[1].reference)
        return {problem_id: future.result() for problem_id, future in futures.items()}, other.result()


def test_the_verifier_accepts_every_reference(verdicts):
    kinds = {problem_id: verdict.kind for problem_id, verdict in verdicts[0].items()}
    assert kinds == dict.fromkeys((problem.id for problem in PROBLEMS), VerdictKind.accepted)


def test_the_verifier_refuses_the_reference_of_another_problem(verdicts):
    assert not verdicts[1].passed
    assert not verdicts[1].is_infrastructure_error
