"""Evaluation goes through training's sampling, and asks every arm and step the same."""

from __future__ import annotations

from zlib import crc32

import pytest

from ablate.cli import compose
from ablate.config import parse
from ablate.data.tokenizer import load_tokenizer
from ablate.rollout.evaluation import evaluate
from ablate.seeding import derive_seed
from ablate.types import Problem, Prompt, TestCase, Verdict, VerdictKind


class SeedRecordingEngine:
    """Passes requests on to the real engine and keeps them."""

    def __init__(self, engine):
        self.engine = engine
        self.requests = []

    def sample(self, requests, on_finish):
        self.requests += requests
        self.engine.sample(requests, on_finish)


class JudgeByText:
    def submit_answer(self, problem, text):
        from concurrent.futures import Future

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
def run(engine, tasks):
    def evaluate_at(step: int, context_length: int):
        recording = SeedRecordingEngine(engine)
        config = parse(compose([])).eval
        rows = evaluate(
            recording,
            JudgeByText(),
            tasks,
            config=config,
            step=step,
            context_length=context_length,
            infrastructure_retries=0,
            decode=str,
        )
        return rows, recording.requests, config

    return evaluate_at


def test_every_step_and_context_asks_the_same_seeds_at_the_evaluation_temperature(run, tasks):
    _, first, config = run(step=0, context_length=40)
    _, later, _ = run(step=9, context_length=60)
    assert [request.seed for request in first] == [request.seed for request in later]
    assert [request.seed for request in first] == [
        derive_seed(config.seed, "eval", problem.id, sample)
        for problem, _ in tasks
        for sample in range(config.samples_per_problem)
    ]
    assert {(request.temperature, request.top_p) for request in first} == {(config.temperature, config.top_p)}


def test_rows_say_where_they_come_from_and_keep_the_order_of_problems_and_samples(run, tasks):
    rows, _, config = run(step=9, context_length=60)
    assert [(row.problem_id, row.sample) for row in rows] == [
        (problem.id, sample) for problem, _ in tasks for sample in range(config.samples_per_problem)
    ]
    assert {(row.step, row.context) for row in rows} == {(9, 60)}
    assert {row.passed for row in rows} == {True, False}
    assert all(row.num_tokens > 0 for row in rows)
