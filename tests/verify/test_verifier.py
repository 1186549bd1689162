"""The verifier's own promises: order, limits, strategies, cache, flake rate."""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_lifecycle import children

from ablate.errors import UserError
from ablate.files.stored_tests import StoredTests, pack_tests
from ablate.types import Problem, TestCase, VerdictKind
from ablate.verify.jobs import hardest_first, make_job
from ablate.verify.verifier import open_verifier

INPUTS = ("1", "22", "333", "4444", "55")
LENGTHS = Problem("lengths", "", tuple(TestCase(text, str(len(text))) for text in INPUTS), "easy")
RIGHT = "print(len(input()))"


def test_the_hardest_test_runs_first_and_the_first_failure_ends_it(verifier):
    verdict = verifier.submit(LENGTHS, "n = len(input())\nprint(n if n == 4 else 0)").result()
    assert (verdict.kind, verdict.num_passed, verdict.num_tests) == (VerdictKind.wrong_answer, 1, 5)
    assert verdict.first_failed == 2


def test_max_tests_keeps_the_hardest(make_config):
    config = make_config(max_tests=2)
    assert hardest_first(make_job(config, LENGTHS, RIGHT)) == [3, 2]
    with open_verifier(make_config(max_tests=2, workers=1)) as verifier:
        verdict = verifier.submit(LENGTHS, "n = len(input())\nprint(n if n > 2 else 0)").result()
        assert (verdict.passed, verdict.num_passed, verdict.num_tests) == (True, 2, 2)
        assert verifier.submit_answer(LENGTHS, "no code").result().num_tests == 2


def test_stored_tests_give_the_same_verdict_and_stay_on_disk(verifier, tmp_path):
    packed = pack_tests(LENGTHS.tests)
    path = tmp_path / "tests.bin"
    path.write_bytes(b"before" + packed.blob)
    stored = StoredTests(str(path), 6, len(packed.blob), packed.num_tests, packed.digest)
    problem = replace(LENGTHS, tests=stored)
    wrong = "n = len(input())\nprint(n if n == 4 else 0)"
    verdict = verifier.submit(problem, wrong).result()
    assert (verdict.kind, verdict.num_passed, verdict.first_failed) == (VerdictKind.wrong_answer, 1, 2)
    assert verifier.submit(problem, RIGHT).result().passed
    assert "decoded" not in vars(stored)


def test_tests_that_cannot_be_read_score_nobody(make_config, tmp_path):
    problem = replace(LENGTHS, tests=StoredTests(str(tmp_path / "gone"), 0, 9, 5, "0" * 64))
    with open_verifier(make_config(workers=1, retries=0)) as verifier:
        verdict = verifier.submit(problem, RIGHT).result()
        assert (verdict.is_infrastructure_error, verdict.num_tests) == (True, 5)
        assert "gone" in verdict.detail
        assert verifier.submit(LENGTHS, RIGHT).result().passed


def test_a_problem_without_tests_is_refused(verifier):
    with pytest.raises(UserError, match="has no tests"):
        verifier.submit(Problem("p", "", (), "easy"), RIGHT)


@pytest.mark.parametrize("changes", [{"input_mode": "argv"}, {"input_mode": "functional"}])
def test_a_problem_that_cannot_be_verified_is_refused(verifier, changes):
    with pytest.raises(UserError, match="problem p"):
        verifier.submit(Problem("p", "", (TestCase("", ""),), "easy", **changes), RIGHT)


def test_a_problems_own_limits_come_first(verifier):
    tests = (TestCase("", "1"),)
    burn = "import time\nwhile time.process_time() < 0.7: pass\nprint(1)"
    assert verifier.submit(Problem("p", "", tests, "easy"), burn).result().passed
    quick = Problem("p", "", tests, "easy", time_limit_s=0.2)
    assert verifier.submit(quick, burn).result().kind is VerdictKind.time_limit
    small = Problem("p", "", tests, "easy", memory_limit_mib=64)
    assert verifier.submit(small, "x = bytearray(300 << 20)\nprint(1)").result().kind is VerdictKind.memory_limit


def test_a_verdict_counts_what_was_used(verifier):
    program = "x = bytearray(b'x' * (50 << 20))\nimport time\nwhile time.process_time() < 0.2: pass\nprint(1)"
    verdict = verifier.submit(Problem("p", "", (TestCase("", "1"),), "easy"), program).result()
    assert verdict.cpu_s >= 0.2
    assert verdict.wall_s >= 0.2
    assert 55 < verdict.peak_mib < 120


def test_the_cpu_of_children_counts(verifier):
    program = "import os\nif os.fork() == 0:\n    while True: pass\nos.wait()"
    assert verifier.submit(LENGTHS, program).result().kind is VerdictKind.time_limit


def test_random_and_sets_are_the_same_in_every_run(verifier):
    program = "import random\nprint(random.random(), list({'a', 'b', 'c', 'd'}), hash('x'))\n1 / 0"
    seen = "import random\nassert False, (random.random(), list({'a', 'b', 'c', 'd'}), hash('x'))"
    details = {verifier.submit(LENGTHS, seen).result().detail for _ in range(4)}
    assert len(details) == 1
    assert verifier.submit(LENGTHS, program).result().kind is VerdictKind.runtime_error


@pytest.mark.parametrize(("strategy", "num_containers"), [("rollout", 1), ("problem", 2), ("test", 10)])
def test_every_strategy_gives_the_same_verdicts(make_config, strategy, num_containers):
    seen = set()
    with open_verifier(make_config(workers=1, container=strategy)) as verifier:
        pid = verifier.backends[0].process.pid
        for problem, program, kind in (
            (LENGTHS, RIGHT, "accepted"),
            (LENGTHS, "print(4)", "wrong_answer"),
            (Problem("other", "", LENGTHS.tests, "easy"), "print(4", "compile_error"),
        ):
            assert verifier.submit(problem, program).result().kind == kind
            seen |= set(children(pid))
    assert len(seen) <= num_containers
    assert (len(seen) > 1) == (num_containers > 1)


def test_the_cache_answers_the_same_question_only(make_config, tmp_path):
    cached = make_config(workers=1, cache=True, cache_dir=str(tmp_path))
    with open_verifier(cached) as verifier:
        first = verifier.submit(LENGTHS, RIGHT).result()
        assert verifier.submit(LENGTHS, RIGHT).result() == first
        assert verifier.submit(LENGTHS, RIGHT, use_cache=False).result() != first
    with open_verifier(cached) as verifier:
        assert verifier.submit(LENGTHS, "print(4)").result().kind is VerdictKind.wrong_answer
    entries = list(tmp_path.glob("*/*.json"))
    assert len(entries) == 2
    entries[0].write_text("{broken")
    with open_verifier(make_config(workers=1, cache=True, cache_dir=str(tmp_path), max_tests=1)) as verifier:
        assert verifier.submit(LENGTHS, RIGHT).result().num_tests == 1
        assert len(list(tmp_path.glob("*/*.json"))) == 3


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(make_config, tmp_path):
    (tmp_path / "file").write_text("")
    with open_verifier(make_config(workers=1, cache=True, cache_dir=str(tmp_path / "file"))) as verifier:
        assert [verifier.submit(LENGTHS, RIGHT).result().passed for _ in range(2)] == [True, True]
