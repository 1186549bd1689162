"""The trainer's end of new weights for vLLM's servers, by broadcast or memory; ``receiver.py`` is the other end."""

from __future__ import annotations

import asyncio
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import torch
import torch.distributed as dist

from ablate.errors import UserError
from ablate.rollout.servers.dispatch import ServerFailed
from ablate.rollout.servers.http import call, http_session, on_each
from ablate.rollout.servers.protocol import read_results, read_world_size
from ablate.rollout.weights.buckets import SENDER, Group, buckets, open_group
from ablate.rollout.weights.shared import SharedMessage

if TYPE_CHECKING:
    from aiohttp import ClientSession
    from torch import Tensor

MIB = 1024**2
EARLY = 0.9  # of the timeout: what fails before is no consequence of another server's silence
GRACE_S = 2.0  # how much later than this process a server may notice that a peer is gone


class BroadcastFailed(Exception):
    """The servers hold parts of new weights: those in ``failures`` are the cause, the others need all of them again."""

    def __init__(self, failures: dict[str, ServerFailed]) -> None:
        super().__init__("; ".join(map(str, failures.values())))
        self.failures = failures


class Transfer(ABC):
    """Replaces the weights of a set of servers, as long as all of them take part.

    Args:
        timeout_s: how long one message may take.
    """

    def __init__(self, urls: list[str], timeout_s: float) -> None:
        self.urls = urls
        self._timeout_s = timeout_s

    def send(self, weights: Iterable[Any], version: str) -> None:
        """Replace the weights of all servers, which have to be paused, and name them ``version``.

        Raises:
            BroadcastFailed: if a server did not take part; this object cannot be used again.
        """
        self._begin()
        self._all("/collective_rpc", lambda _: {"method": "end_interrupted_update"})
        self._all("/start_weight_update", lambda _: {})
        self._send_messages(weights)
        self._all("/finish_weight_update", lambda _: {"weight_version": version})

    @abstractmethod
    def _begin(self) -> None:
        """Do what has to be done once before the first message."""

    @abstractmethod
    def _send_messages(self, weights: Iterable[Any]) -> None:
        """Send all messages, one at a time."""

    def _all(self, route: str, body: Callable[[str], dict], own: Callable[[], None] | None = None) -> None:
        """POST to all servers and do this process's part meanwhile, in a thread that cannot block the calls."""
        asyncio.run(self._post(route, body, own))

    async def _post(self, route: str, body: Callable[[str], dict], own: Callable[[], None] | None = None) -> None:
        async with http_session() as session:
            calls = {url: call(session, f"{url}{route}", body(url)) for url in self.urls}
            failures = await failures_of(calls, self._in_thread(own), self._timeout_s)
        if failures:
            raise BroadcastFailed(failures)

    async def _in_thread(self, own: Callable[[], None] | None) -> None:
        if own is not None:
            await in_daemon_thread(own)

    async def _told_by_workers(self, session: ClientSession, method: str) -> dict[str, str]:
        """What each server's first worker says, by url; none for a server that does not say."""
        ask = partial(call, session, body={"method": method}, timeout_s=self._timeout_s, read=read_results)
        answers = await on_each(self.urls, lambda url: ask(f"{url}/collective_rpc"))
        return {url: each.results[0] for url, each in answers.items() if getattr(each, "results", None)}


class ThroughMemory(Transfer):
    """Servers on the trainer's machines read each message where a rank of the trainer has written it."""

    def _begin(self) -> None:
        self._machines = asyncio.run(self._ask_machines())

    async def _ask_machines(self) -> dict[str, str]:
        async with http_session() as session:
            return await self._told_by_workers(session, "machine_name")

    def _send_messages(self, weights: Iterable[SharedMessage]) -> None:
        for message in weights:
            layout, places = message.layout.as_json(), {place.machine: place for place in message.places}
            bodies = {}
            for url in self.urls:
                place = places.get(self._machines.get(url))
                if place is None:
                    raise UserError(
                        f"{url} is on a machine without a rank of the trainer, whose GPU it should share: start it on "
                        "one, or set rollout.engine.share_gpus=false"
                    )
                bodies[url] = {"update_info": {**layout, "path": place.path, "num_mapped": place.num_mapped}}
            self._all("/update_weights", bodies.__getitem__)


class Broadcast(Transfer):
    """Sends weights through a group of this process and the workers of all servers."""

    def __init__(self, urls: list[str], *, bucket_mib: float, timeout_s: float) -> None:
        super().__init__(urls, timeout_s)
        self._bucket_bytes = bucket_mib * MIB
        self._group: Group | None = None
        # Threads have a current device of their own: the one that sends takes this thread's.
        self._device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else None

    def _begin(self) -> None:
        if self._group is None:
            asyncio.run(self._meet())

    def _send_messages(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        room = 0
        for layout, buffer in buckets(weights, self._bucket_bytes, self._device):
            if self._device is not None:
                torch.cuda.synchronize()  # the message is complete before another thread's stream sends it
            if layout.num_bytes > room:
                # NCCL meets in the first message and waits there for ever: a server without room says so now.
                room = layout.num_bytes
                asked = {"method": "make_room", "args": [room]}
                self._all("/collective_rpc", lambda _, asked=asked: asked)
            body = {"update_info": layout.as_json()}
            self._all("/update_weights", lambda _, body=body: body, lambda b=buffer: self._group.broadcast(b))

    async def _meet(self) -> None:
        """Open the group of this process and the workers of all servers."""
        async with http_session() as session:
            route = "/get_world_size"
            ask = partial(call, session, timeout_s=self._timeout_s, read=read_world_size)
            answers = await on_each(self.urls, lambda url: ask(url + route))
            kinds = await self._told_by_workers(session, "device_kind")
        failures = {url: answer for url, answer in answers.items() if isinstance(answer, ServerFailed)}
        if failures:
            raise BroadcastFailed(failures)
        if wrong := {url: kind for url, kind in kinds.items() if kind != self._device_kind}:
            url, kind = next(iter(wrong.items()))
            raise UserError(
                f"{url} holds its weights on {kind}, and this process on {self._device_kind}, so no group can carry "
                "them from one to the other: set rollout.engine.weight_transfer=file"
            )
        sizes = [answers[url].world_size for url in self.urls]
        size = 1 + sum(sizes)
        host, timeout = address_towards(self.urls[0]), timedelta(seconds=self._timeout_s)
        store = dist.TCPStore(host, 0, size, is_master=True, timeout=timeout, wait_for_workers=False)
        where = {"host": host, "port": store.port, "name": uuid4().hex, "size": size, "timeout_s": self._timeout_s}
        first_ranks = {url: 1 + sum(sizes[:index]) for index, url in enumerate(self.urls)}

        def join() -> None:
            named = dist.PrefixStore(where["name"], store)
            self._group = open_group(named, SENDER, size, self._device or torch.device("cpu"), self._timeout_s)

        await self._post(
            "/init_weight_transfer_engine", lambda url: {"init_info": {**where, "first_rank": first_ranks[url]}}, join
        )
        self._store = store  # lives as long as the group

    @property
    def _device_kind(self) -> str:
        return "cpu" if self._device is None else self._device.type

    async def _in_thread(self, own: Callable[[], None] | None) -> None:
        def work() -> None:
            if self._device is not None:
                torch.cuda.set_device(self._device)
            own()

        await super()._in_thread(own and work)


async def in_daemon_thread(work: Callable[[], None]) -> None:
    """Await ``work`` in a thread that nothing waits for at the end: NCCL's first message may never return."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: BaseException | None) -> None:
        if not done.done():
            done.set_result(None) if error is None else done.set_exception(error)

    def run() -> None:
        error: BaseException | None = None
        try:
            work()
        except BaseException as raised:  # handed on to who awaits
            error = raised
        with suppress(RuntimeError):  # the loop is closed, because no caller waits any more
            loop.call_soon_threadsafe(settle, error)

    threading.Thread(target=run, name="ablate-broadcast", daemon=True).start()
    await done


async def failures_of(calls: dict[str, Awaitable], own: Awaitable[None], timeout_s: float) -> dict[str, ServerFailed]:
    """Await this process's part and the servers' answers together; return the servers that are the cause of a failure.

    A server that failed at once is the cause, also where the others and this process then wait for it until the
    timeout. When one server hangs, the others report after the timeout that the broadcast broke; the cause is then the
    server that is silent.

    Raises:
        RuntimeError: if this process's part failed although every server answered.
    """
    loop = asyncio.get_running_loop()
    tasks = {url: asyncio.ensure_future(each) for url, each in calls.items()}
    mine, start = asyncio.ensure_future(own), loop.time()
    ended_s: dict[asyncio.Task, float] = {}
    for task in tasks.values():
        task.add_done_callback(lambda task: ended_s.setdefault(task, loop.time() - start))
    _, pending = await asyncio.wait([mine, *tasks.values()], timeout=timeout_s + GRACE_S)
    for task in pending:
        task.cancel()
    failures: dict[str, ServerFailed] = {}
    for url, task in tasks.items():
        if task in pending:
            failures[url] = ServerFailed(f"{url} did not take part in a weight update for {timeout_s:g} s")
        elif task.exception() is not None:
            if not isinstance(task.exception(), ServerFailed):
                raise task.exception()
            failures[url] = task.exception()
    early = {
        url: error for url, error in failures.items() if error.answered and ended_s[tasks[url]] < EARLY * timeout_s
    }
    gone = {url: error for url, error in failures.items() if not error.answered and tasks[url] not in pending}
    silent = {url: error for url, error in failures.items() if tasks[url] in pending}
    broken = own_failure(mine, pending)
    if cause := gone or early or silent:
        return cause
    if broken is not None:
        answers = "; ".join(map(str, failures.values())) or "no server reported an error"
        raise RuntimeError(f"the broadcast of weights failed: {broken} ({answers})") from broken
    return failures


def own_failure(mine: asyncio.Task, pending: set[asyncio.Task]) -> BaseException | None:
    """What went wrong in this process's part: torch.distributed raises subclasses of RuntimeError."""
    if mine in pending:
        return RuntimeError("this process's part did not end")
    if mine.exception() is not None and not isinstance(mine.exception(), RuntimeError):
        raise mine.exception()
    return mine.exception()


def address_towards(url: str) -> str:
    """This machine's address on the network that leads to a server."""
    parts = urlsplit(url)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((parts.hostname, parts.port or 80))  # sends nothing: it only chooses a route
        return probe.getsockname()[0]
