"""The rows of trace.json: what each engine and the verifier did for a batch, and counters whose sums are exact."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Sequence

import pytest

from ablate.process.activity import ENGINE, VERIFIER, Work, note_work, noted_work
from ablate.records.timeline import batch_events, union, without
from ablate.records.trace import Trace
from ablate.rollout.vllm.running import Running

# Two servers sample from 0 to 10 and from 2 to 8; programs run from 4 to 6 and, when nothing samples, from 12 to 15.
WORK = [
    Work("http://a", 0.0, 10.0, tokens=100),
    Work("http://b", 2.0, 8.0, tokens=60),
    Work("http://b", 8.0, 9.0, tokens=0, is_aborted=True),
    Work(VERIFIER, 4.0, 6.0),
    Work(VERIFIER, 5.0, 6.0),
    Work(VERIFIER, 12.0, 15.0),
]


def spans_of(work: Sequence[Work]) -> dict[tuple[str, str], list[dict]]:
    found: dict[tuple[str, str], list[dict]] = {}
    for row, event in batch_events(work, {"step": 3, "version": 2}):
        if row is not None:
            found.setdefault((row, event["name"]), []).append(event)
    return found


def seconds(event: dict) -> tuple[float, float]:
    return event["ts"] / 1e6, (event["ts"] + event["dur"]) / 1e6


def test_every_engine_and_the_verifier_has_a_span_with_its_step_version_and_counts():
    spans = spans_of(WORK)
    (a,), (b,), (verify,) = (
        spans[key] for key in [("http://a", "sample"), ("http://b", "sample"), (VERIFIER, "verify")]
    )
    assert (seconds(a), seconds(b), seconds(verify)) == ((0, 10), (2, 9), (4, 15))
    counts = {"requests": 1, "aborted": 0, "tokens": 100, "request_seconds": 10}
    assert a["args"] == {"step": 3, "version": 2, "began": 0.0, **counts}
    assert (b["args"]["requests"], b["args"]["aborted"], b["args"]["request_seconds"]) == (2, 1, 7)
    assert (verify["args"]["programs"], verify["args"]["program_seconds"], verify["args"]["busy_seconds"]) == (3, 6, 5)


def test_programs_that_run_while_no_engine_samples_are_shown_alone():
    assert [seconds(event) for event in spans_of(WORK)[VERIFIER, "verify_alone"]] == [(12, 15)]


def test_a_request_that_was_aborted_hides_no_verification():
    work = [Work(ENGINE, 0, 4, tokens=1), Work(ENGINE, 4, 9, is_aborted=True), Work(VERIFIER, 3, 6)]
    assert [seconds(event) for event in spans_of(work)[VERIFIER, "verify_alone"]] == [(4, 6)]


@pytest.mark.parametrize(("name", "expected"), [("running requests", 17), ("running sandboxes", 6), ("tokens/s", 160)])
def test_the_integral_of_a_counter_is_that_of_the_work(name, expected):
    points = [event for _, event in batch_events(WORK, {}) if event["name"] == name]
    integral = sum(
        (after["ts"] - before["ts"]) / 1e6 * before["args"]["value"] for before, after in itertools.pairwise(points)
    )
    assert integral == pytest.approx(expected, abs=0.05)
    assert points[-1]["args"]["value"] == 0


def test_intervals_are_joined_and_cut():
    assert union([(5, 6), (0, 2), (1, 3), (3, 4)]) == [(0, 4), (5, 6)]
    assert without([(0, 4), (5, 6)], [(1, 2), (3, 5.5)]) == [(0, 1), (2, 3), (5.5, 6)]
    assert without([(0, 4)], []) == [(0, 4)]


def test_a_batch_without_work_leaves_no_event(tmp_path):
    assert list(batch_events([], {"step": 1})) == []


def test_rows_keep_their_names_and_places_when_a_run_continues(tmp_path):
    Trace(tmp_path).add_batch(WORK, 1)
    with Trace(tmp_path).timed("update", 1):
        pass
    Trace(tmp_path).add_batch([Work("http://c", 20, 21), *WORK], 2)
    trace = Trace(tmp_path)
    trace.rewrite(closed=True)
    events = json.loads(trace.path.read_text())
    names = {event["tid"]: event["args"]["name"] for event in events if event["ph"] == "M"}
    assert len(names) == sum(event["ph"] == "M" for event in events) == 5
    assert names[0] == "trainer"
    assert {names[span["tid"]] for span in trace.spans()} == {"trainer", "http://a", "http://b", "http://c", VERIFIER}
    assert {names[span["tid"]] for span in trace.spans() if span["name"] == "verify"} == {VERIFIER}


def test_work_is_noted_only_while_somebody_listens():
    note_work(ENGINE, time.time())
    with noted_work() as outer, noted_work() as inner:
        note_work(ENGINE, time.time(), tokens=7)
    note_work(ENGINE, time.time())
    assert outer == inner
    assert [work.tokens for work in outer] == [7]


def test_a_request_runs_from_when_the_engine_has_room_for_it():
    running = Running(most=1)
    with noted_work() as work:
        for key in "abc":
            running.add(key)
        running.end("a", 5)
        running.end("b", 6)
        running.abort(["c"])
    first, second, third = work
    assert first.stop <= second.start <= second.stop <= third.start
    assert [each.tokens for each in work] == [5, 6, 0]
    assert [each.is_aborted for each in work] == [False, False, True]
