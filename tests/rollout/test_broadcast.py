"""The trainer's end of a broadcast names the cause of a failure, whether its group raises (gloo) or hangs (NCCL)."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
import torch
from aiohttp import web

from ablate.errors import UserError
from ablate.rollout.servers import broadcast as broadcast_module
from ablate.rollout.servers.broadcast import Broadcast, BroadcastFailed, failures_of, in_daemon_thread
from ablate.rollout.servers.dispatch import ServerFailed

from .stand_in_servers import stand_ins

TIMEOUT_S = 1.0


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(broadcast_module, "GRACE_S", 0.2)
    monkeypatch.setenv("ABLATE_SERVER_TOKEN", "of these tests")


class NeverReturns:
    """A group whose first message waits in ncclCommInitRank."""

    def broadcast(self, buffer):
        threading.Event().wait()


class TakesAll:
    def broadcast(self, buffer):
        pass


def test_a_group_that_never_returns_ends_with_the_server_that_failed():
    with stand_ins(2) as servers:
        broadcast = Broadcast([server.url for server in servers], bucket_mib=1, timeout_s=TIMEOUT_S)
        broadcast._group = NeverReturns()

        async def fails(request, right):
            if request.path == "/update_weights":
                return aiohttp_error("CUDA out of memory")

        servers[1].lies = fails
        start = time.monotonic()
        with pytest.raises(BroadcastFailed, match="CUDA out of memory") as caught:
            broadcast.send([("w", torch.ones(3))], "v1")
    assert list(caught.value.failures) == [servers[1].url]  # the other one is not the cause
    assert time.monotonic() - start < 60, "it ends at the timeout and not when the group does"


def aiohttp_error(text):
    return web.Response(status=500, text=text)


def test_a_server_without_room_for_a_message_says_so_before_anybody_waits_for_it():
    with stand_ins(2) as servers:
        broadcast = Broadcast([server.url for server in servers], bucket_mib=1, timeout_s=TIMEOUT_S)
        broadcast._group = NeverReturns()

        async def has_no_room(request, right):
            if request.path == "/collective_rpc" and (await request.json())["method"] == "make_room":
                return aiohttp_error("CUDA out of memory")

        servers[0].lies = has_no_room
        with pytest.raises(BroadcastFailed, match="CUDA out of memory") as caught:
            broadcast.send([("w", torch.ones(3))], "v1")
        assert list(caught.value.failures) == [servers[0].url]
        assert servers[1].calls["/update_weights"] == 0


def test_every_message_that_is_larger_than_those_before_is_announced():
    with stand_ins(1) as servers:
        broadcast = Broadcast([servers[0].url], bucket_mib=64 / 2**20, timeout_s=TIMEOUT_S)
        broadcast._group, announced = TakesAll(), []

        async def notes(request, right):
            if request.path == "/collective_rpc" and (body := await request.json())["method"] == "make_room":
                announced.extend(body["args"])

        servers[0].lies = notes
        broadcast.send([(str(size), torch.zeros(size, dtype=torch.uint8)) for size in (32, 64, 48, 96, 80)], "v1")
    assert announced == [32, 64, 96]


def test_a_group_of_cpus_and_gpus_is_refused_with_the_other_way():
    with stand_ins(1) as servers:

        async def on_a_gpu(request, right):
            body = await request.json() if request.method == "POST" else {}
            if request.path == "/get_world_size":
                return web.json_response({"world_size": 1})
            if body.get("method") == "device_kind":
                return web.json_response({"results": ["cuda"]})

        servers[0].lies = on_a_gpu
        broadcast = Broadcast([servers[0].url], bucket_mib=1, timeout_s=TIMEOUT_S)
        with pytest.raises(
            UserError, match=r"holds its weights on cuda, and this process on cpu.*weight_transfer=file"
        ):
            broadcast.send([("w", torch.ones(3))], "v1")


async def failing(after_s: float, *, answered: bool):
    await asyncio.sleep(after_s)
    raise ServerFailed("broken", answered=answered)


async def silent():
    await asyncio.sleep(600)


async def broken_group():
    await asyncio.sleep(TIMEOUT_S)
    raise RuntimeError("connection closed by peer")


@pytest.mark.parametrize(
    ("calls", "cause"),
    [
        # It failed at once, and the others wait for it until they report it.
        ({"a": lambda: failing(0.1, answered=True), "b": lambda: failing(TIMEOUT_S, answered=True)}, {"a"}),
        ({"a": lambda: failing(0.1, answered=True), "b": silent}, {"a"}),
        # It hangs, and the others report it after the timeout.
        ({"a": silent, "b": lambda: failing(TIMEOUT_S, answered=True)}, {"a"}),
        # It is gone, and the others notice at once.
        ({"a": lambda: failing(0.1, answered=False), "b": lambda: failing(0.2, answered=True)}, {"a"}),
    ],
)
@pytest.mark.parametrize("own", [broken_group, lambda: in_daemon_thread(threading.Event().wait)], ids=["gloo", "nccl"])
def test_the_server_that_is_the_cause_is_named_and_no_other(calls, cause, own):
    async def run():
        return await failures_of({url: call() for url, call in calls.items()}, own(), TIMEOUT_S)

    assert set(asyncio.run(run())) == cause
