"""From the work on one batch to events of the Chrome trace format: a span for each resource, and counters."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ablate.process.activity import VERIFIER, Work

NUM_BINS = 60  # of a batch's counters; every bin holds a mean, so that sums over time stay exact
Interval = tuple[float, float]


def batch_events(work: Sequence[Work], facts: Mapping[str, Any]) -> Iterator[tuple[str | None, dict[str, Any]]]:
    """Pairs of (row, event) for a batch; counters belong to no row.

    An engine's row gets a span ``sample`` from its first request to its last response. The verifier's row gets a span
    ``verify`` from its first program to its last verdict, and a span ``verify_alone`` wherever programs ran while no
    engine sampled a response that the batch received.

    Args:
        facts: what ``args`` of every span holds, such as the step. ``began`` joins them: it is the same for all spans
            of the batch, and another one when a step is repeated after a kill.
    """
    if not work:
        return
    facts = {**facts, "began": round(extent(work)[0], 3)}
    verified = [each for each in work if each.resource == VERIFIER]
    sampled = [each for each in work if each.resource != VERIFIER]
    for resource in sorted({each.resource for each in sampled}):
        mine = [each for each in sampled if each.resource == resource]
        counts = {
            "requests": len(mine),
            "aborted": sum(each.is_aborted for each in mine),
            "tokens": sum(each.tokens for each in mine),
            "request_seconds": total_seconds(mine),
        }
        yield resource, span("sample", extent(mine), {**facts, **counts})
    if verified:
        busy = union([(each.start, each.stop) for each in verified])
        counts = {"programs": len(verified), "program_seconds": total_seconds(verified), "busy_seconds": length(busy)}
        yield VERIFIER, span("verify", extent(verified), {**facts, **counts})
        sampling = union([(each.start, each.stop) for each in sampled if not each.is_aborted])
        for interval in without(busy, sampling):
            yield VERIFIER, span("verify_alone", interval, facts)
    for counter in counters(sampled, verified):
        yield None, counter


def counters(sampled: Sequence[Work], verified: Sequence[Work]) -> Iterator[dict[str, Any]]:
    """Running requests, running sandboxes and tokens per second; the last value of each is 0."""
    start, stop = extent([*sampled, *verified]) if sampled or verified else (0.0, 0.0)
    if stop == start:
        return
    edges = [start + (stop - start) * index / NUM_BINS for index in range(NUM_BINS + 1)]
    for name, values in (
        ("running requests", means(sampled, edges, [1.0] * len(sampled))),
        ("running sandboxes", means(verified, edges, [1.0] * len(verified))),
        ("tokens/s", means(sampled, edges, [each.tokens / max(each.stop - each.start, 1e-6) for each in sampled])),
    ):
        for edge, value in zip(edges, [*values, 0.0], strict=True):
            yield {"name": name, "ph": "C", "ts": edge * 1e6, "pid": 0, "args": {"value": round(value, 3)}}


def means(work: Sequence[Work], edges: Sequence[float], rates: Sequence[float]) -> list[float]:
    """The mean over each bin of the sum of the rates of the work that goes on; the bins are equally wide."""
    width, first = edges[1] - edges[0], edges[0]
    sums = [0.0] * (len(edges) - 1)
    for each, rate in zip(work, rates, strict=True):
        begin = min(int((each.start - first) / width), len(sums) - 1)
        for index in range(max(begin, 0), len(sums)):
            if edges[index] >= each.stop:
                break
            sums[index] += rate * max(0.0, min(each.stop, edges[index + 1]) - max(each.start, edges[index]))
    return [total / width for total in sums]


def span(name: str, interval: Interval, args: Mapping[str, Any]) -> dict[str, Any]:
    start, stop = interval
    return {"name": name, "ph": "X", "ts": start * 1e6, "dur": (stop - start) * 1e6, "pid": 0, "args": dict(args)}


def extent(work: Sequence[Work]) -> Interval:
    return min(each.start for each in work), max(each.stop for each in work)


def total_seconds(work: Sequence[Work]) -> float:
    return sum(each.stop - each.start for each in work)


def union(intervals: Sequence[Interval]) -> list[Interval]:
    """The same points of time as intervals in order that do not touch."""
    merged: list[Interval] = []
    for start, stop in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], stop)
        else:
            merged.append((start, stop))
    return merged


def without(intervals: Sequence[Interval], removed: Sequence[Interval]) -> list[Interval]:
    """The parts of ``intervals`` outside ``removed``; both are results of ``union``."""
    left = []
    for start, stop in intervals:
        inside = [gap for gap in removed if gap[1] > start and gap[0] < stop]
        edges = [start, *itertools.chain.from_iterable(inside), stop]
        left += [(begin, end) for begin, end in zip(edges[::2], edges[1::2], strict=True) if end > begin]
    return left


def length(intervals: Sequence[Interval]) -> float:
    return sum(stop - start for start, stop in intervals)
