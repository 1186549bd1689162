"""What this process's engines and verifier do, piece by piece, for the timeline.

Engines and the verifier belong to the process, so there is one list of listeners. Without a listener nothing is kept.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

VERIFIER = "verifier"
ENGINE = "engine"  # one of this process, or its child; a server has its address as its name


@dataclass(frozen=True)
class Work:
    """One request on an engine, or one program in a sandbox. Times are seconds since the epoch.

    Example: ``Work("http://10.0.0.7:8000", start=1764265800.0, stop=1764265842.5, tokens=20913)``
    """

    resource: str  # VERIFIER, ENGINE or the address of a server
    start: float
    stop: float
    tokens: int = 0  # of the response to a request
    is_aborted: bool = False  # its result was not used


_listeners: list[list[Work]] = []


@contextmanager
def noted_work() -> Iterator[list[Work]]:
    """Collect the work that ends inside the block, whichever thread does it."""
    work: list[Work] = []
    _listeners.append(work)
    try:
        yield work
    finally:
        _listeners[:] = [each for each in _listeners if each is not work]


def note_work(resource: str, start: float, *, tokens: int = 0, is_aborted: bool = False) -> None:
    """Note work that began at ``start`` and ends now."""
    if _listeners:
        work = Work(resource, start, time.time(), tokens, is_aborted)
        for listener in list(_listeners):
            listener.append(work)
