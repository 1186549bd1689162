"""Whether a server still has the weights that it was given: one that was restarted in mid-batch has others."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable

from ablate.rollout.servers.dispatch import ServerFailed


class SameWeights:
    """Confirms that what a server has answered so far came from the weights that are named ``version``.

    A name is never used twice and a restart forgets it. So a server that has the name after an answer had these weights
    during the answer. One question serves all answers that wait for it.

    Args:
        ask: the name of the weights that a server has; raises ``ServerFailed``.
    """

    def __init__(self, version: str | None, ask: Callable[[str], Awaitable[str]]) -> None:
        self._version, self._ask = version, ask
        self._next: dict[str, asyncio.Task] = {}  # the question that has not been sent yet, by server
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def confirm(self, url: str) -> None:
        """Return once the server is known to have the weights.

        Raises:
            ServerFailed: if it has others, or does not say.
        """
        if self._version is None:  # this client has loaded none
            return
        if url not in self._next:
            self._next[url] = asyncio.ensure_future(self._confirm(url))
        await asyncio.shield(self._next[url])  # one who no longer waits leaves the question to the others

    async def _confirm(self, url: str) -> None:
        async with self._locks[url]:
            del self._next[url]  # an answer that comes from now on needs another question
            if await self._ask(url) != self._version:
                raise other_weights(url)


def other_weights(url: str) -> ServerFailed:
    return ServerFailed(f"{url} has other weights: it was started again, or another run uses it")
