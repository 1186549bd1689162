"""A preempted process ends at the next point where it loses no work.

Signals belong to the process, so there is one list of them. Engines and threads that wait for verdicts poll it.
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
    """The process received a stop signal."""


@contextmanager
def noted_signals() -> Iterator[list[int]]:
    """Collect stop signals instead of ending the process."""
    before = {number: signal.signal(number, lambda number, _: _received.append(number)) for number in STOP_SIGNALS}
    try:
        yield _received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _received.clear()


def is_preempted() -> bool:
    """Whether a stop signal was noted"""
    return bool(_received)


def raise_if_preempted() -> None:
    """Raise ``Preempted`` if a signal was noted. Call it where the caller may end without losing a result."""
    if _received:
        raise Preempted


async def unless_preempted(work: Coroutine[Any, Any, Result]) -> Result:
    """Await ``work``; cancel it and raise ``Preempted`` if the process is preempted first."""
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            raise_if_preempted()
            await asyncio.wait([task], timeout=POLL_S)
        return await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
