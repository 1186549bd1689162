"""Which tests stay together on one worker of ``make test``, and which begin first: those that took longest.

Tests that share a fixture of a module stay together, because another worker would make it again. What is left of a file
stays together too, except for tests that take long by themselves.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

RECORDED = Path(__file__).with_name("durations.json")  # seconds of a test function, all its cases and fixtures included
LONG_S = 10.0  # a test, or tests with a common fixture, that may leave the other tests of its file
SHORT_S = 0.02  # of every test, in addition
KEPT_S = 0.5  # shorter ones are not worth a line
TOGETHER = {"engine", "slurm", "recorded_run", "curated", "chromium"}  # fixtures of a session that cost seconds


def group(items: Sequence[pytest.Item]) -> None:
    """Mark every test with its group, and order the tests: the longest group first, the rest of a file as it is.

    Args:
        items: the list that pytest runs; its order changes in place.
    """
    recorded = durations()
    by_file = defaultdict(list)
    for item in items:
        by_file[item.path].append(item)
    groups: dict[str, list[pytest.Item]] = defaultdict(list)
    for path, of_file in by_file.items():
        for number, some in enumerate(parts_of(of_file, recorded)):
            shared = sorted(TOGETHER & {name for item in some for name in item.fixturenames})
            groups[shared[0] if shared else f"{path.parent.name}.{path.stem}.{number}"] += some
    order = sorted(groups, key=lambda name: -seconds_of(groups[name], recorded))
    for name in order:
        for item in groups[name]:
            item.add_marker(pytest.mark.xdist_group(name))
    items[:] = [item for name in order for item in groups[name]]


def durations() -> dict[str, float]:
    return json.loads(RECORDED.read_text()) if RECORDED.exists() else {}


def parts_of(items: Sequence[pytest.Item], recorded: dict[str, float]) -> Iterable[list[pytest.Item]]:
    """The tests of one file in parts; the first one is what is left."""
    part_of: dict[str, str] = {}  # a module's fixture -> the first fixture that it is used with, directly or not
    for item in items:
        first, *others = fixtures_of_module(item) or [""]
        root = root_of(first, part_of)
        for other in others:
            part_of[root_of(other, part_of)] = root
    parts = defaultdict(list)
    for item in items:
        shared = fixtures_of_module(item)
        parts[root_of(shared[0], part_of) if shared else function_of(item)].append(item)
    long = [some for some in parts.values() if seconds_of(some, recorded) >= LONG_S]
    apart = {id(item) for some in long for item in some}
    return [some for some in ([item for item in items if id(item) not in apart], *long) if some]


def root_of(name: str, part_of: dict[str, str]) -> str:
    while part_of.get(name, name) != name:
        name = part_of[name]
    return name


def fixtures_of_module(item: pytest.Item) -> list[str]:
    fixtures = getattr(item, "_fixtureinfo", None)
    return (
        [name for name, found in fixtures.name2fixturedefs.items() if found[-1].scope == "module"] if fixtures else []
    )


def function_of(item: pytest.Item | str) -> str:
    name = item if isinstance(item, str) else item.nodeid
    return name.partition("[")[0].partition("@")[0]


def seconds_of(items: Sequence[pytest.Item], recorded: dict[str, float]) -> float:
    """The same on every worker, whose sets have another order."""
    functions = {function_of(item) for item in items}
    return math.fsum([*(recorded.get(function, 0.0) for function in functions), *(SHORT_S for _ in items)])


class Recorder:
    """``--record-durations``: write what every test function of this session took; others keep their seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[function_of(report.nodeid)] += report.duration

    def pytest_sessionfinish(self) -> None:
        seconds = {**durations(), **self.seconds}
        kept = {name: round(value, 1) for name, value in sorted(seconds.items()) if value >= KEPT_S}
        RECORDED.write_text(json.dumps(kept, indent=0) + "\n")
