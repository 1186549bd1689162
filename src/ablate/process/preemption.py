"""A process that is asked to stop leaves at the next point where nothing that it has done is lost.

Signals belong to the process, so there is one list of them. Engines, and whoever waits for verdicts, look at it while
they wait.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
POLL_S = 0.2

Result = TypeVar("Result")

_received: list[int] = []


class Preempted(Exception):
    """The process was asked to stop."""


@contextmanager
def noted_signals() -> Iterator[list[int]]:
    """Collect signals that ask the process to stop, in place of ending it."""
    before = {number: signal.signal(number, lambda number, _: _received.append(number)) for number in STOP_SIGNALS}
    try:
        yield _received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _received.clear()


def is_preempted() -> bool:
    """Was a signal noted?"""
    return bool(_received)


def raise_if_preempted() -> None:
    """Raise ``Preempted`` if a signal was noted. Call it where the caller may end without losing a result."""
    if _received:
        raise Preempted


async def unless_preempted(work: Coroutine[Any, Any, Result]) -> Result:
    """Await ``work``; cancel it and raise ``Preempted`` if the process is asked to stop first."""
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            raise_if_preempted()
            await asyncio.wait([task], timeout=POLL_S)
        return await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
