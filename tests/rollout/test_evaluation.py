"""Evaluation goes through training's sampling, and uses the same seeds for every arm, step and context."""

from __future__ import annotations

import os
import signal
from concurrent.futures import Future
from zlib import crc32

import pytest

from ablate.cli import compose
from ablate.config import parse
from ablate.data.tokenizer import load_tokenizer
from ablate.process.preemption import Preempted, noted_signals
from ablate.records.eval_texts import EvalTexts
from ablate.sampling import Sampling
from ablate.seeding import derive_seed
from ablate.types import Problem, Prompt, TestCase, Verdict, VerdictKind


class RecordingEngine:
    """Passes requests on to the real engine, keeps them, and counts those that have finished."""

    def __init__(self, engine):
        self.engine = engine
        self.requests = []
        self.num_finished = 0
        self.ask_to_stop_after = None

    def sample(self, requests, on_finish):
        def count(key, sampled):
            on_finish(key, sampled)
            self.num_finished += 1
            if self.num_finished == self.ask_to_stop_after:
                os.kill(os.getpid(), signal.SIGUSR1)

        self.requests += requests
        for first in range(0, len(requests), 4):  # the test's model ends no response early: all would end together
            self.engine.sample(requests[first : first + 4], count)

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
        return OnTheTestEngine(config, tiny_checkpoint, str, [], tasks, [], VerifierByText()), recording

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


def test_an_evaluation_that_was_stopped_samples_only_the_rest_and_leaves_equal_rows(make_sampling, tmp_path):
    unbroken, whole = make_sampling()
    rows = unbroken.evaluate(step=9, context_length=60)
    kept = tmp_path / "samples" / "step_9.jsonl"
    sampling, stopped = make_sampling()
    stopped.ask_to_stop_after = 2
    with noted_signals(), pytest.raises(Preempted):
        sampling.evaluate(9, 60, kept_samples=kept)
    assert 2 <= stopped.num_finished < len(rows)
    with kept.open("a") as file:
        file.write('{"digest": "half a li')  # as a kill leaves it
    resumed_sampling, resumed = make_sampling()
    assert resumed_sampling.evaluate(9, 60, kept_samples=kept) == rows
    assert stopped.num_finished + resumed.num_finished == whole.num_finished == len(rows)
    again_sampling, again = make_sampling()
    assert again_sampling.evaluate(9, 60, kept_samples=kept) == rows
    assert again.requests == []


def test_the_texts_of_an_evaluation_are_kept_in_the_order_of_its_rows(make_sampling, tmp_path):
    sampling, _ = make_sampling()
    texts = EvalTexts(tmp_path)
    rows = sampling.evaluate(9, 60, texts=texts)
    kept = texts.rows(9, 60)
    shared = ("problem_id", "difficulty", "sample", "num_tokens", "finished", "verdict")
    assert [[row[name] for name in shared] for row in kept] == [[getattr(row, name) for name in shared] for row in rows]
    assert all(row["text"] and row["statement"] == "add two" for row in kept)
    before = texts.file(9, 60).read_bytes()
    sampling.evaluate(9, 60, texts=texts)
    assert texts.file(9, 60).read_bytes() == before
    sampling.evaluate(12, 60, texts=texts)
    sampling.evaluate(15, 60, texts=texts)
    texts.keep({0, 12})
    assert texts.kept() == [(12, 60)]


def test_a_kept_sample_answers_only_the_very_same_request(make_sampling, tmp_path):
    kept = tmp_path / "samples.jsonl"
    sampling, _ = make_sampling()
    sampling.evaluate(9, 60, kept_samples=kept)
    other_sampling, other = make_sampling()
    other_sampling.evaluate(9, 59, kept_samples=kept)
    assert len(other.requests) == other.num_finished > 0


def test_a_collection_is_left_at_once_when_the_process_is_asked_to_stop(make_sampling, tasks):
    """Nothing waits for a verdict, and the engine serves the next caller as if nothing had happened."""

    class NeverDone(VerifierByText):
        def submit_answer(self, problem, text):
            return asked.setdefault(text, Future())

    asked: dict[str, Future] = {}
    sampling, engine = make_sampling()
    rows = sampling.evaluate(step=0, context_length=40)
    sampling.verifier = NeverDone()
    for num_sampled in (2, len(rows)):  # while others are sampled, and while verdicts are waited for
        engine.ask_to_stop_after = engine.num_finished + num_sampled
        with noted_signals(), pytest.raises(Preempted):
            sampling.evaluate(step=0, context_length=40)
    engine.ask_to_stop_after = None
    assert asked
    assert all(future.cancelled() for future in asked.values()), "programs that nobody waits for are not run"
    sampling.verifier = VerifierByText()
    assert sampling.evaluate(step=0, context_length=40) == rows
