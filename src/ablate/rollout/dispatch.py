"""Which server samples which request: one queue, and the next request goes to the server with the fewest in flight."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import groupby

from ablate.rollout.engine import OnFinish, Request, Sampled

MAX_REFUSALS = 3  # a request that so many servers answered with an error is the cause, not the servers


class ServerFailed(Exception):
    """A server refused, hung or went away: another server can do its work.

    Args:
        answered: the server still answers, but with an error.
    """

    def __init__(self, message: str, *, answered: bool = False) -> None:
        super().__init__(message)
        self.answered = answered


class Queue:
    """Requests that wait. Those with the same prompt go to one server, whose prefix cache then holds the prompt.

    A server takes from the group that it has begun, then from the next group. When no group is left it helps the server
    whose group has the most requests left, so that no server idles while a request waits.
    """

    def __init__(self, requests: Sequence[Request]) -> None:
        self._groups = deque(deque(group) for _, group in groupby(requests, key=lambda request: request.prompt_ids))
        self._begun: dict[str, deque[Request]] = {}

    def take(self, url: str) -> Request | None:
        """The next request for this server; None when none waits."""
        group = self._begun.get(url)
        if not group and self._groups:
            group = self._begun[url] = self._groups.popleft()
        group = group or max(self._begun.values(), key=len, default=None)
        return group.popleft() if group else None

    def give_back(self, url: str, requests: Sequence[Request]) -> None:
        """Put what a lost server was sampling, then what it had not begun, in front of all that waits."""
        for group in (self._begun.pop(url, deque()), deque(requests)):
            if group:
                self._groups.appendleft(group)


async def dispatch(
    requests: Sequence[Request],
    urls: Sequence[str],
    *,
    max_in_flight: int,
    send: Callable[[str, Request], Awaitable[Sampled]],
    watch: Callable[[str], Awaitable[None]],
    on_finish: OnFinish,
    on_lost: Callable[[str, ServerFailed], None],
) -> None:
    """Sample every request on some server; what a lost server did not answer is sampled by the others.

    A request is the same wherever it is sampled, because its seed belongs to it.

    Args:
        max_in_flight: requests at once, per server.
        send: samples one request on a server; raises ``ServerFailed`` if the server cannot.
        watch: returns never, and raises ``ServerFailed`` when a server no longer answers.
        on_lost: is told of every server that failed; may raise to give up.

    Raises:
        RuntimeError: when several servers refused the same request.
    """
    queue = Queue(requests)
    ended: asyncio.Queue[tuple[str, asyncio.Task]] = asyncio.Queue()
    running: dict[str, dict[asyncio.Task, Request]] = {url: {} for url in urls}
    watchers: dict[str, asyncio.Task] = {}
    refusals: Counter[Request] = Counter()

    def begin(url: str, work: Awaitable) -> asyncio.Task:
        task = asyncio.ensure_future(work)
        task.add_done_callback(lambda task: ended.put_nowait((url, task)))
        return task

    def lose(url: str, error: ServerFailed) -> None:
        tasks = running.pop(url)
        for task in (*tasks, watchers.pop(url)):
            task.cancel()
        queue.give_back(url, list(tasks.values()))
        on_lost(url, error)

    try:
        for url in urls:
            watchers[url] = begin(url, watch(url))
        num_left = len(requests)
        while num_left:
            fill(queue, running, max_in_flight, lambda url, request: begin(url, send(url, request)))
            url, task = await ended.get()
            error = None if task.cancelled() else task.exception()
            if url not in running or task.cancelled():
                continue
            if isinstance(error, ServerFailed):
                request = running[url].get(task)
                refusals[request] += error.answered
                if refusals[request] == MAX_REFUSALS:
                    raise RuntimeError(f"{MAX_REFUSALS} servers refused the request {request.key}: {error}")
                lose(url, error)
                continue
            if error is not None:
                raise error
            on_finish(running[url].pop(task).key, task.result())
            num_left -= 1
    finally:
        tasks = [task for of_server in running.values() for task in of_server] + list(watchers.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def fill(
    queue: Queue,
    running: dict[str, dict[asyncio.Task, Request]],
    max_in_flight: int,
    begin: Callable[[str, Request], asyncio.Task],
) -> None:
    """Begin requests until none waits or every server is full, each on the server with the fewest in flight."""
    while True:
        url = min(running, key=lambda url: len(running[url]), default=None)
        if url is None or len(running[url]) >= max_in_flight:
            return
        request = queue.take(url)
        if request is None:
            return
        running[url][begin(url, request)] = request
