"""Servers on the trainer's GPUs: what they are asked, in which order, and what a server that does not obey costs."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
import torch
from aiohttp import web

from ablate.errors import UserError
from ablate.rollout.engine import TooFewServers, WeightsIncomplete
from ablate.rollout.open import open_engine
from ablate.rollout.weights.buckets import unpacked
from ablate.rollout.weights.shared import SharedHandOff, SharedReader, machine_name

from .conftest import CONTEXT, small_engine_config
from .stand_in_servers import stand_ins
from .test_dispatch import assert_all_sampled, open_client, requests_for, sample, token  # noqa: F401

BUCKET_BYTES = 64.0
WEIGHTS = [(f"w{index}", torch.full((8,), float(index))) for index in range(4)]  # two of them in a message
SLEEP, WAKE_WEIGHTS, WAKE_CACHE = "/sleep?level=2&mode=abort", "/wake_up?tags=weights", "/wake_up?tags=kv_cache"


async def as_vllm(server, log, machine, request, right):
    """Answer as vLLM does where the stand-in does not, and note what was asked."""
    body = await request.json() if request.method == "POST" else {}
    log.append(body.get("method", request.path_qs))
    if body.get("method") == "machine_name":
        return web.json_response({"results": [machine]})
    if request.path == "/finish_weight_update":
        server.version = body["weight_version"]
    return None


@pytest.fixture
def servers():
    with stand_ins(2) as two:
        for server in two:
            server.log = []
            server.lies = partial(as_vllm, server, server.log, machine_name())
        yield two


def messages():
    return SharedHandOff(BUCKET_BYTES, lambda own: [own], rank=0).messages(WEIGHTS)


def open_sharing(model_dir, servers, **changes):
    return open_client(model_dir, servers, share_gpus=True, **changes)


def on_path(server, path, does):
    """Let a server do something else where this path is asked."""
    usual = server.lies

    async def lie(request, right):
        if request.path == path:
            server.log.append(request.path_qs)
            return await does(request)
        return await usual(request, right)

    server.lies = lie


async def refuse(request):
    return web.Response(status=500, text="no more")


async def die(request):
    request.transport.close()
    return web.Response()


async def hang(request):
    await asyncio.sleep(600)


def test_servers_sleep_then_wake_for_weights_and_have_caches_only_when_all_weights_are_there(servers, tiny_checkpoint):
    client = open_sharing(tiny_checkpoint, servers)
    for server in servers:
        assert server.log == ["/v1/models", "/weight_info", SLEEP], "nothing is written to a server that sleeps"
        server.log.clear()
    client.sleep()
    client.use_context(2 * CONTEXT)
    client.load_weights(messages())
    expected = [
        *(SLEEP, WAKE_WEIGHTS, "use_positions", "/reset_prefix_cache", "machine_name", "end_interrupted_update"),
        *("/start_weight_update", "/update_weights", "/update_weights", "/finish_weight_update", WAKE_CACHE),
        *("/reset_prefix_cache", "/weight_info", "/resume"),
    ]
    assert [server.log for server in servers] == [expected, expected]
    requests = requests_for(4)
    assert_all_sampled(sample(client, requests), requests)


def test_a_server_that_died_holds_no_memory_and_the_others_go_on(servers, tiny_checkpoint):
    client = open_sharing(tiny_checkpoint, servers)
    on_path(servers[1], "/sleep", die)
    client.sleep()
    on_path(servers[1], "/collective_rpc", die)
    client.load_weights(messages())
    assert WAKE_WEIGHTS not in servers[1].log
    requests = requests_for(4)
    assert_all_sampled(sample(client, requests), requests)
    assert "/v1/completions" not in servers[1].log


@pytest.mark.parametrize("does", [refuse, hang])
def test_a_server_that_may_hold_its_memory_ends_the_run_before_the_trainer_needs_it(does, servers, tiny_checkpoint):
    client = open_sharing(tiny_checkpoint, servers, silence_s=0.5)
    on_path(servers[1], "/sleep", does)
    with pytest.raises(TooFewServers, match=rf"may hold the memory of a GPU .*: {servers[1].url}.*begin again"):
        client.sleep()


def test_a_server_that_hangs_while_it_wakes_may_take_its_memory_later(servers, tiny_checkpoint):
    client = open_sharing(tiny_checkpoint, servers, silence_s=0.5)
    client.sleep()
    servers[1].lies = lambda request, right: hang(request)
    client.load_weights(messages())
    assert client._pool.live == [servers[0].url]
    with pytest.raises(TooFewServers, match="may hold the memory"):
        client.sleep()


def test_a_retired_server_that_answers_again_is_put_to_sleep_too(servers, tiny_checkpoint):
    client = open_sharing(tiny_checkpoint, servers)
    client.sleep()
    usual = servers[1].lies
    on_path(servers[1], "/wake_up", refuse)
    client.load_weights(messages())
    assert client._pool.live == [servers[0].url]
    servers[1].lies = usual
    servers[1].log.clear()
    client.sleep()
    assert servers[1].log == [SLEEP]


def test_a_server_without_a_rank_on_its_machine_is_named(servers, tiny_checkpoint):
    client = open_sharing(tiny_checkpoint, servers)
    servers[1].lies = partial(as_vllm, servers[1], [], "another machine")
    client.sleep()
    with pytest.raises(UserError, match=rf"{servers[1].url} is on a machine without a rank of the trainer.*share_gpus"):
        client.load_weights(messages())


def test_a_file_instead_of_messages(servers, tiny_checkpoint, tmp_path):
    client = open_sharing(tiny_checkpoint, servers, weight_transfer="file", weights_dir=str(tmp_path))
    client.sleep()
    for server in servers:
        server.log.clear()
    client.load_weights(SharedHandOff(BUCKET_BYTES, lambda own: [own], rank=0, by_file=True).messages(WEIGHTS))
    for server in servers:
        order = [server.log.index(each) for each in (WAKE_WEIGHTS, "replace_weights_from_file", WAKE_CACHE)]
        assert order == sorted(order)
    requests = requests_for(4)
    assert_all_sampled(sample(client, requests), requests)


def test_a_server_that_interrupts_every_attempt_is_left_out_until_the_next_update(servers, tiny_checkpoint):
    client = open_sharing(tiny_checkpoint, servers)
    usual = servers[1].lies
    on_path(servers[1], "/start_weight_update", refuse)
    for _ in range(2):
        with pytest.raises(WeightsIncomplete, match="no more"):
            client.load_weights(messages())
    client.load_weights(messages())
    assert client._pool.live == [servers[0].url]
    servers[1].lies = usual
    client.sleep()
    client.load_weights(messages())
    assert client._pool.live == [server.url for server in servers]


def test_only_servers_can_share_gpus(tiny_checkpoint):
    with pytest.raises(UserError, match=r"share_gpus=true puts servers to sleep, .*placement=inline\): start servers"):
        open_engine(tiny_checkpoint, small_engine_config(share_gpus=True), CONTEXT, CONTEXT)


def test_the_first_rank_of_every_machine_writes_and_no_message_is_written_before_all_ranks_have_come():
    """Four ranks on two machines, one thread each."""
    from concurrent.futures import ThreadPoolExecutor
    from threading import Barrier

    barrier, given = Barrier(4), {}

    def gathered(rank, value):
        given[rank] = value
        barrier.wait(60)
        values = [given[each] for each in range(4)]
        barrier.wait(60)
        return values

    def of_rank(rank):
        hand_off = SharedHandOff(BUCKET_BYTES, partial(gathered, rank), rank, machine=f"m{rank // 2}")
        reader, found = SharedReader(), []
        for message in hand_off.messages(WEIGHTS):
            (place,) = [place for place in message.places if place.machine == f"m{rank // 2}"]
            size = message.layout.num_bytes
            buffer = reader.take(place.path, place.num_mapped, size, torch.device("cpu"))
            found += [(name, tensor.clone()) for name, tensor in unpacked(message.layout, buffer)]
        return hand_off._buffer is not None, found

    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(of_rank, range(4)))
    assert [writes for writes, _ in results] == [True, False, True, False]
    for _, found in results:
        assert [name for name, _ in found] == [name for name, _ in WEIGHTS]
        assert all(torch.equal(tensor, WEIGHTS[index][1]) for index, (_, tensor) in enumerate(found))
