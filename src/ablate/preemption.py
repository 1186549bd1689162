"""A run that is asked to stop finishes its step, writes a checkpoint and leaves."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Preempted(Exception):
    """The process was asked to stop and has written a checkpoint."""


@contextmanager
def noted_signals() -> Iterator[list[int]]:
    """Collect signals that ask the process to stop, in place of ending it; the loop looks at them after every step."""
    received: list[int] = []
    before = {number: signal.signal(number, lambda number, _: received.append(number)) for number in STOP_SIGNALS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
