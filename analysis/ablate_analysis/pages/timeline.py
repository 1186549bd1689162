"""The spans of trace.json as bars: of one step, a line for each resource and kind of work, and of the whole run."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any

from ablate.process.activity import VERIFIER
from ablate.records.trace import TRAINER, Trace

Bar = list[float]  # [start, seconds], from the step's first span
VISIBLE = 1 / 500  # of the step: bars with a smaller gap between them are drawn as one


def timelines(trace: Trace) -> dict[int, list[tuple[str, list[Bar], float]]]:
    """Step -> (name of the line, its bars, its seconds together), in the order in which the lines begin.

    The trainer's own row is the step itself; lines of other rows have the row's name in front.
    """
    events = trace.events()
    rows = {event["tid"]: event["args"]["name"] for event in events if event.get("name") == "thread_name"}
    lines: dict[int, dict[str, list[tuple[float, float]]]] = {}
    for event in events:
        if event.get("ph") == "X" and "step" in event.get("args", {}):
            row = rows.get(event["tid"], "") if event.get("tid") else ""
            name = f"{row}: {event['name']}" if row else event["name"]
            interval = event["ts"] / 1e6, (event["ts"] + event["dur"]) / 1e6
            lines.setdefault(int(event["args"]["step"]), {}).setdefault(name, []).append(interval)
    return {step: bars_of(by_name) for step, by_name in sorted(lines.items())}


KINDS = ("sample", "verify", "verify_alone", "wait_batch", "weights", "old_logp", "ref_logp", "update", "evaluate",
         "checkpoint", "records", "sleep")  # others lie inside these  # fmt: skip
WAITS = ("wait_batch", "verify_alone")  # the first is no work, and the second lies inside the verifier's work
FINEST = 1 / 1500  # of the run: shorter gaps between bars of one kind are closed
LONGEST_GAP_S = 60.0  # a longer pause lies between two attempts, and is cut out


def whole_run(trace: Trace) -> dict[str, Any]:
    """Every step over time: a row for each resource with its bars ``[start, seconds, kind, step]`` and its idle share.

    Times are seconds since the first span, without the time between attempts; ``cuts`` says where that was.
    """
    events = trace.events()
    names = {event["tid"]: event["args"]["name"] for event in events if event.get("name") == "thread_name"}
    spans = [
        (names.get(event["tid"], TRAINER), event["name"], int(event["args"]["step"]), event["ts"] / 1e6,
         (event["ts"] + event["dur"]) / 1e6)
        for event in events
        if event.get("ph") == "X" and event["name"] in KINDS and "step" in event.get("args", {})
    ]  # fmt: skip
    if not spans:
        return {"seconds": 0, "rows": [], "steps": [], "cuts": []}
    worked = merged([(start, stop) for *_, start, stop in spans], LONGEST_GAP_S)
    lengths = [stop - start for start, stop in worked]
    begins = [sum(lengths[:index]) for index in range(len(worked))]

    def since(time: float) -> float:
        index = bisect_right([start for start, _ in worked], time) - 1
        return begins[index] + min(time, worked[index][1]) - worked[index][0]

    seconds = sum(lengths)
    rows = []
    for name in sorted({row for row, *_ in spans}, key=lambda row: (row != TRAINER, row == VERIFIER, row)):
        mine = [span for span in spans if span[0] == name]
        work = merged([(start, stop) for _, kind, _, start, stop in mine if kind not in WAITS], 0.0)
        idle = 1 - sum(stop - start for start, stop in work) / seconds if seconds else 0.0
        rows.append(
            {"name": name, "idle": round(max(0.0, idle), 4), "bars": bars_of_row(mine, since, seconds * FINEST)}
        )
    steps: dict[int, tuple[float, float]] = {}
    for row, _, step, start, stop in spans:
        if row == TRAINER:
            before = steps.get(step, (start, stop))
            steps[step] = min(before[0], start), max(before[1], stop)
    return {
        "seconds": round(seconds, 2),
        "rows": rows,
        "steps": [
            [step, round(since(start), 2), round(since(stop), 2)] for step, (start, stop) in sorted(steps.items())
        ],
        "cuts": [round(begin, 2) for begin in begins[1:]],
    }


def bars_of_row(spans: Sequence[tuple], since: Callable[[float], float], gap: float) -> list[list[Any]]:
    """Bars in the order in which they are drawn: a wait first, so that work lies over it."""
    bars: list[list[Any]] = []
    for kind in sorted({kind for _, kind, *_ in spans}, key=lambda kind: (kind not in WAITS[:1], KINDS.index(kind))):
        first = len(bars)
        for _, _, step, start, stop in sorted((span for span in spans if span[1] == kind), key=lambda span: span[3]):
            begin, length = round(since(start), 3), round(since(stop) - since(start), 3)
            if len(bars) > first and begin - (bars[-1][0] + bars[-1][1]) <= gap:
                bars[-1][1] = round(max(bars[-1][1], begin + length - bars[-1][0]), 3)
            else:
                bars.append([begin, length, kind, step])
    return bars


def bars_of(by_name: dict[str, list[tuple[float, float]]]) -> list[tuple[str, list[Bar], float]]:
    first = min(start for intervals in by_name.values() for start, _ in intervals)
    last = max(end for intervals in by_name.values() for _, end in intervals)
    shown = []
    for name, intervals in sorted(by_name.items(), key=lambda item: min(item[1])):
        joined = merged(intervals, (last - first) * VISIBLE)
        bars = [[round(start - first, 3), round(end - start, 3)] for start, end in joined]
        shown.append((name, bars, round(sum(end - start for start, end in merged(intervals, 0.0)), 3)))
    return shown


def merged(intervals: Sequence[tuple[float, float]], gap: float) -> list[tuple[float, float]]:
    """The union of intervals; those closer than ``gap`` become one."""
    union: list[tuple[float, float]] = []
    for start, end in sorted(intervals):
        if union and start <= union[-1][1] + gap:
            union[-1] = union[-1][0], max(end, union[-1][1])
        else:
            union.append((start, end))
    return union
