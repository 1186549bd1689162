"""Evaluation goes through training's sampling, and uses the same seeds for every arm, step and context."""

from __future__ import annotations

from concurrent.futures import Future
from zlib import crc32

import pytest

from ablate.cli import compose
from ablate.config import parse
from ablate.data.tokenizer import load_tokenizer
from ablate.sampling import Sampling
from ablate.seeding import derive_seed
from ablate.types import Problem, Prompt, TestCase, Verdict, VerdictKind


class RecordingEngine:
    """Passes requests on to the real engine and keeps them."""

    def __init__(self, engine):
        self.engine = engine
        self.requests = []

    def sample(self, requests, on_finish):
        self.requests += requests
        self.engine.sample(requests, on_finish)

    def load_weights(self, weights):
        self.engine.load_weights(weights)


class VerifierByText:
    def submit_answer(self, problem, text):
        kind = VerdictKind.accepted if crc32(text.encode()) % 2 else VerdictKind.wrong_answer
        future = Future()
        future.set_result(Verdict(kind, 0, 1, None, 0.0, 0.0, 0.0))
        return future


@pytest.fixture(scope="session")
def tasks(tiny_checkpoint):
    tokenizer = load_tokenizer(tiny_checkpoint)
    text = "add two"
    return [
        (
            Problem(f"p{index}", text, (TestCase("1", "1"),), "easy"),
            Prompt(f"p{index}", text, tuple(tokenizer(text)["input_ids"])),
        )
        for index in range(3)
    ]


@pytest.fixture
def make_sampling(engine, tasks, tiny_checkpoint):
    """``make_sampling()``: a sampling side on the test engine, and that engine, which keeps its requests."""

    def make() -> tuple[Sampling, RecordingEngine]:
        recording = RecordingEngine(engine)

        class OnTheTestEngine(Sampling):
            def engine(self, context_length):
                return recording

        config = parse(compose(["experiment=tiny", f"model.path={tiny_checkpoint}"]))
        return OnTheTestEngine(config, tiny_checkpoint, str, [], tasks, VerifierByText()), recording

    return make


def test_every_step_and_context_uses_the_same_seeds_at_the_evaluation_temperature(make_sampling, tasks):
    sampling, first = make_sampling()
    sampling.evaluate(step=0, context_length=40)
    later_sampling, later = make_sampling()
    later_sampling.evaluate(step=9, context_length=60)
    config = sampling.config.eval
    assert [request.seed for request in first.requests] == [request.seed for request in later.requests]
    assert [request.seed for request in first.requests] == [
        derive_seed(config.seed, "eval", problem.id, sample)
        for problem, _ in tasks
        for sample in range(config.samples_per_problem)
    ]
    assert {(request.temperature, request.top_p) for request in first.requests} == {(config.temperature, config.top_p)}


def test_rows_say_where_they_come_from_and_keep_the_order_of_problems_and_samples(make_sampling, tasks):
    sampling, _ = make_sampling()
    rows = sampling.evaluate(step=9, context_length=60)
    assert [(row.problem_id, row.sample) for row in rows] == [
        (problem.id, sample) for problem, _ in tasks for sample in range(sampling.config.eval.samples_per_problem)
    ]
    assert {(row.step, row.context) for row in rows} == {(9, 60)}
    assert {row.passed for row in rows} == {True, False}
    assert all(row.num_tokens > 0 for row in rows)


def test_an_engine_has_weights_until_the_version_changes_or_another_engine_is_opened(make_sampling, tiny_checkpoint):
    sampling, _ = make_sampling()
    assert not sampling.has_weights(40, (0, 0))
    sampling.load_weights(40, (0, 0), tiny_checkpoint)
    assert sampling.has_weights(40, (0, 0))
    assert not sampling.has_weights(40, (0, 1))
    assert not sampling.has_weights(40, (1, 0))
    another, _ = make_sampling()
    another.versions = sampling.versions
    assert not another.has_weights(40, (0, 0))
