"""Which server samples which request: one queue, and the next request goes to the server with the fewest in flight."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Collection, Hashable, Sequence
from itertools import groupby

from ablate.errors import UserError
from ablate.rollout.engine import STEER_EVERY_S, Change, OnFinish, Request, Sampled, Steer

MAX_ERRORS = 3  # if this many servers answer a request with an error, the request is at fault and not the servers


class ServerFailed(Exception):
    """A server refused, hung or went away: another server can do its work.

    Args:
        answered: the server still answers, but with an error.
        is_refusal: it gave an answer that it will give again: it refused the request, or broke the protocol.
        is_gone: no process takes connections there, so it holds no memory either.
    """

    def __init__(
        self, message: str, *, answered: bool = False, is_refusal: bool = False, is_gone: bool = False
    ) -> None:
        super().__init__(message)
        self.answered, self.is_refusal, self.is_gone = answered or is_refusal, is_refusal, is_gone


class Queue:
    """Requests that wait. Those with the same prompt go to one server, whose prefix cache then holds the prompt.

    A server takes from the group that it has begun, then from the next group. When no group is left it helps the server
    whose group has the most requests left, so that no server idles while a request waits.
    """

    def __init__(self, requests: Sequence[Request] = ()) -> None:
        self._groups: deque[deque[Request]] = deque()
        self._begun: dict[str, deque[Request]] = {}
        self.add(requests)

    def __len__(self) -> int:
        return sum(map(len, (*self._groups, *self._begun.values())))

    def add(self, requests: Sequence[Request]) -> None:
        """Let requests wait behind those that wait already."""
        self._groups += (deque(group) for _, group in groupby(requests, key=lambda request: request.prompt_ids))

    def drop(self, keys: Collection[Hashable]) -> None:
        """Forget the requests with these keys."""
        for group in (*self._groups, *self._begun.values()):
            kept = [request for request in group if request.key not in keys]
            group.clear()
            group += kept
        self._groups = deque(group for group in self._groups if group)

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


class Dispatch:
    """Samples every request on some server; what a lost server did not answer is sampled by the others.

    A request is the same wherever it is sampled, because its seed belongs to it.

    Args:
        max_in_flight: requests at once, per server.
        send: samples one request on a server; raises ``ServerFailed`` if the server cannot. Cancelled, it closes the
            connection, and then the server aborts the request.
        watch: never returns, and raises ``ServerFailed`` when a server no longer answers.
        on_lost: called with every server that failed; may raise to give up.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        max_in_flight: int,
        send: Callable[[str, Request], Awaitable[Sampled]],
        watch: Callable[[str], Awaitable[None]],
        on_finish: OnFinish,
        on_lost: Callable[[str, ServerFailed], None],
    ) -> None:
        self.max_in_flight = max_in_flight
        self.send, self.watch, self.on_finish, self.on_lost = send, watch, on_finish, on_lost
        self.queue = Queue()
        self.running: dict[str, dict[asyncio.Task, Request]] = {url: {} for url in urls}
        self.watchers: dict[str, asyncio.Task] = {}
        self.ended: asyncio.Queue[tuple[str, asyncio.Task]] = asyncio.Queue()
        self.errors: Counter[Request] = Counter()
        self.num_servers = len(urls)

    async def run(self, requests: Sequence[Request], steer: Steer) -> None:
        """Sample the requests, and what ``steer`` adds; see ``Engine.sample``.

        Raises:
            UserError: when several servers refused the same request.
        """
        try:
            self.watchers = {url: self._begin(url, self.watch(url)) for url in self.running}
            self.queue.add(requests)
            while len(self.queue) or any(self.running.values()):
                self._fill()
                try:
                    async with asyncio.timeout(STEER_EVERY_S):
                        url, task = await self.ended.get()
                except TimeoutError:
                    pass
                else:
                    self._settle(url, task)
                self._apply(steer())
        finally:
            tasks = [task for of_server in self.running.values() for task in of_server] + list(self.watchers.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _fill(self) -> None:
        """Begin requests until none waits or every server is full, each on the server with the fewest in flight."""
        while True:
            url = min(self.running, key=lambda url: len(self.running[url]), default=None)
            if url is None or len(self.running[url]) >= self.max_in_flight:
                return
            request = self.queue.take(url)
            if request is None:
                return
            self.running[url][self._begin(url, self.send(url, request))] = request

    def _begin(self, url: str, work: Awaitable) -> asyncio.Task:
        task = asyncio.ensure_future(work)
        task.add_done_callback(lambda task: self.ended.put_nowait((url, task)))
        return task

    def _settle(self, url: str, task: asyncio.Task) -> None:
        """Hand on what a task sampled, or give its server up; a request that was aborted is in no one's list."""
        if url not in self.running or task.cancelled():
            return
        error, request = task.exception(), self.running[url].get(task)
        if isinstance(error, ServerFailed):
            if request is not None:
                self.errors[request] += error.answered
                num = self.errors[request]
                if num >= (min(MAX_ERRORS, self.num_servers) if error.is_refusal else MAX_ERRORS):
                    servers = f"{num} servers" if num > 1 else "the only server"
                    raise UserError(f"{servers} gave no answer to the request {request.key} that can be used: {error}")
            self._lose(url, error)
        elif error is not None:
            raise error
        elif request is not None:
            del self.running[url][task]
            self.on_finish(request.key, task.result())

    def _lose(self, url: str, error: ServerFailed) -> None:
        tasks = self.running.pop(url)
        for task in (*tasks, self.watchers.pop(url)):
            task.cancel()
        self.queue.give_back(url, list(tasks.values()))
        self.on_lost(url, error)

    def _apply(self, change: Change) -> None:
        self.queue.add(change.added)
        if not change.aborted:
            return
        self.queue.drop(change.aborted)
        for tasks in self.running.values():
            for task in [task for task, request in tasks.items() if request.key in change.aborted]:
                del tasks[task]
                task.cancel()
