"""The seam between the verifier and the place in which programs run."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
from dataclasses import replace

import pytest

from ablate.check_run import check_run
from ablate.cli import compose
from ablate.errors import UserError
from ablate.types import Problem, TestCase, VerdictKind
from ablate.verify import choices
from ablate.verify.backend import Backend, BackendError
from ablate.verify.inside.test_report import TestReport, parse_report
from ablate.verify.jobs import Job, infrastructure_error, make_job
from ablate.verify.local.container import memory_file
from ablate.verify.scoring import Outcome, run_in_order, score
from ablate.verify.verifier import open_verifier

LENGTHS = Problem("lengths", "", tuple(TestCase(text, str(len(text))) for text in ("1", "22", "333")), "easy")
RIGHT = "print(len(input()))"
WELL = TestReport(True, "", 0, None, cpu_s=0.01, wall_s=0.01, run_wait_s=0.0, peak_kib=1024)


class HonestProgramsOnly:
    """A whole backend: it runs a program in this process, which no untrusted program may ever be allowed."""

    containment = "nothing is limited"

    def start(self) -> None: ...

    def run(self, job: Job):
        return run_in_order(job, lambda position, index: self.run_test(job, index))

    def run_test(self, job: Job, index: int) -> Outcome:
        answer = io.StringIO()
        with contextlib.redirect_stdout(answer):
            exec(job.program, {"input": lambda: job.tests[index].input})
        output, result = memory_file("output", answer.getvalue().encode()), memory_file("result")
        try:
            return score(job, index, WELL, output, result, out_of_memory=False)
        finally:
            os.close(output)
            os.close(result)

    def cancel(self, number: int) -> None: ...

    def stop(self) -> None: ...


def test_a_backend_of_ones_own_is_one_class_and_one_row(make_config, monkeypatch):
    monkeypatch.setitem(choices.BACKENDS, "honest", HonestProgramsOnly)
    with open_verifier(make_config(backend="honest")) as verifier:
        assert verifier.submit(LENGTHS, RIGHT).result().kind is VerdictKind.accepted
        failed = verifier.submit(LENGTHS, "n = len(input())\nprint(n if n == 3 else 0)").result()
    assert (failed.kind, failed.num_passed, failed.num_tests, failed.first_failed) == ("wrong_answer", 1, 3, 1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"backend": "docker"}, "verify.backend=docker is not one of local, modal"),
        ({"comparison": "fuzzy"}, "verify.comparison=fuzzy is not one of tokens, lcb, exact"),
        ({"container": "none"}, "verify.container=none is not one of rollout, problem, test"),
        ({"wall_factor": 0}, "verify.wall_factor must be above 0 and finite, not 0"),
        ({"time_limit_s": float("inf")}, "verify.time_limit_s must be above 0 and finite, not inf"),
        ({"retries": -1}, "verify.retries must be 0 or above, not -1"),
        ({"max_tests": 0}, "would pass every program"),
    ],
)
def test_a_value_that_breaks_a_rule_is_named(make_config, changes, words):
    with pytest.raises(UserError) as caught:
        choices.check_verify(make_config(**changes))
    assert words in str(caught.value)


def test_a_wrong_backend_is_named_before_a_run_starts():
    values = compose(["verify.backend=docker"], with_hydra=True)
    with pytest.raises(UserError, match="is not one of local, modal"):
        check_run(values, values.hydra)


@pytest.mark.parametrize("error", [KeyError("run_wait_s"), asyncio.CancelledError("lost"), BackendError("it ended")])
def test_whatever_a_backend_raises_is_an_infrastructure_error(make_config, monkeypatch, error):
    class Raises(HonestProgramsOnly):
        def run(self, job):
            if "broken" in job.program:
                raise error
            return super().run(job)

    monkeypatch.setitem(choices.BACKENDS, "raises", Raises)
    with open_verifier(make_config(backend="raises", workers=1, retries=1)) as verifier:
        verdict = verifier.submit(LENGTHS, "broken").result(timeout=600)
        assert verdict.kind is VerdictKind.infrastructure_error
        assert str(error) in verdict.detail
        assert verifier.num_retries == 1
        assert verifier.submit(LENGTHS, RIGHT).result(timeout=600).passed


def test_a_backend_that_returns_no_verdict_is_an_infrastructure_error(make_config, monkeypatch):
    class Forgets(HonestProgramsOnly):
        def run(self, job):
            return None

    monkeypatch.setitem(choices.BACKENDS, "forgets", Forgets)
    with open_verifier(make_config(backend="forgets", workers=1)) as verifier:
        assert verifier.submit(LENGTHS, RIGHT).result(timeout=600).is_infrastructure_error


@pytest.mark.parametrize("backend", choices.BACKENDS.values())
def test_every_backend_has_the_methods_of_the_protocol(backend):
    wanted = {name for name in vars(Backend) if not name.startswith("_")} | {"containment"}
    assert [name for name in wanted if not hasattr(backend(), name)] == []


def test_a_report_survives_its_row():
    assert parse_report(WELL.to_row()) == WELL


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"run_wait_s": None}, "run_wait_s"),
        ({"status": True}, "status"),
        ({"status": "0"}, "status"),
        ({"is_confined": 1}, "is_confined"),
        ({"stopped": "bored"}, "stopped"),
        ({"accepted": True}, "fields"),
    ],
)
def test_a_report_that_breaks_its_type_is_refused_by_name(change, words):
    with pytest.raises(ValueError, match=words):
        parse_report({**WELL.to_row(), **change})
    short = WELL.to_row()
    del short["run_wait_s"]
    with pytest.raises(ValueError, match="run_wait_s"):
        parse_report(short)


def test_a_starved_test_is_scored_as_an_infrastructure_error(make_config):
    job = make_job(make_config(), LENGTHS, RIGHT)
    starved = replace(WELL, stopped="starved", status=9, run_wait_s=40.0)
    outcome = score(job, 0, starved, memory_file("output"), memory_file("result"), out_of_memory=False)
    assert (outcome.kind, outcome.detail) == ("infrastructure_error", "the machine starved the program for 40.0 s")
    assert infrastructure_error(job, "why").num_tests == 3
