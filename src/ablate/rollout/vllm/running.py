"""Which of an engine's requests run, where the engine does not say: it runs as many as it may, the oldest first."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Hashable, Iterable

from ablate.process.activity import ENGINE, note_work


class Running:
    """Notes every request of one engine as work, from the moment in which the engine has room for it.

    Args:
        most: requests that the engine runs at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: deque[Hashable] = deque()
        self._started: dict[Hashable, float] = {}

    def add(self, key: Hashable) -> None:
        self._waiting.append(key)
        self._start()

    def end(self, key: Hashable, num_tokens: int) -> None:
        """The engine handed on the response to a request."""
        note_work(ENGINE, self._started.pop(key), tokens=num_tokens)
        self._start()

    def abort(self, keys: Iterable[Hashable]) -> None:
        """The engine drops these requests."""
        gone = set(keys)
        self._waiting = deque(key for key in self._waiting if key not in gone)
        for key in gone & self._started.keys():
            note_work(ENGINE, self._started.pop(key), is_aborted=True)
        self._start()

    def _start(self) -> None:
        while self._waiting and len(self._started) < self._most:
            self._started[self._waiting.popleft()] = time.time()
