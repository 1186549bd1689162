"""The spans of trace.json as bars, one line for each resource and kind of work."""

from __future__ import annotations

from collections.abc import Sequence

from ablate.records.trace import Trace

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
