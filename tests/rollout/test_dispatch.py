"""One pool: which server is asked what, and who does the work of a server that fails."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from ablate.errors import UserError
from ablate.rollout.engine import Change, Request, TooFewServers
from ablate.rollout.open import close_engines, open_engine
from ablate.rollout.servers.dispatch import Queue

from .conftest import CONTEXT, small_engine_config
from .stand_in_servers import response_to, stand_ins

EOS = 2  # of the character tokenizer


@pytest.fixture(autouse=True)
def token(monkeypatch):
    monkeypatch.setenv("ABLATE_SERVER_TOKEN", "of these tests")
    yield
    close_engines()


@pytest.fixture
def servers():
    with stand_ins(3) as three:
        yield three


def requests_for(num_groups: int, group_size: int = 8) -> list[Request]:
    return [
        Request((group, sample), (3, group, 5), 1000 * group + sample, 9, 1.0, 1.0)
        for group in range(num_groups)
        for sample in range(group_size)
    ]


def open_client(model_dir, servers, **changes):
    config = small_engine_config(
        **{"placement": "servers", "urls": [server.url for server in servers], "max_num_seqs": 64, **changes}
    )
    return open_engine(model_dir, config, CONTEXT, CONTEXT, longest=2 * CONTEXT)


def sample(engine, requests):
    results = {}
    engine.sample(requests, results.__setitem__)
    return results


def assert_all_sampled(results, requests):
    assert {key: tuple(result.response_ids) for key, result in results.items()} == {
        request.key: tuple(response_to(request.seed, EOS)) for request in requests
    }


@pytest.mark.parametrize(("num_groups", "expected"), [(12, [32, 32, 32]), (5, [13, 13, 14]), (1, [2, 3, 3])])
def test_requests_are_spread_evenly_over_the_servers(num_groups, expected, servers, tiny_checkpoint):
    requests = requests_for(num_groups)
    assert_all_sampled(sample(open_client(tiny_checkpoint, servers), requests), requests)
    assert sorted(len(server.prompts) for server in servers) == expected


def test_a_server_has_no_more_requests_in_flight_than_its_limit(servers, tiny_checkpoint):
    requests = requests_for(12)
    sample(open_client(tiny_checkpoint, servers, max_num_seqs=4), requests)
    assert [server.most_in_flight for server in servers] == [4, 4, 4]


def test_the_requests_of_a_group_go_to_one_server(servers, tiny_checkpoint):
    sample(open_client(tiny_checkpoint, servers), requests_for(12))
    homes = [prompt for server in servers for prompt in set(server.prompts)]
    assert Counter(Counter(homes).values()) == {1: 12}


def test_no_request_waits_while_a_server_idles():
    queue = Queue(requests_for(2))
    taken = [queue.take(url).key for url in ("a", "b", "c", "c", "a")]
    assert taken[:2] == [(0, 0), (1, 0)]
    assert taken[2][0] != taken[3][0]  # the third server helps whoever has the most left
    while queue.take("c"):
        pass
    assert queue.take("a") is None


def test_requests_of_a_lost_server_go_to_the_front_of_the_queue():
    queue = Queue(requests_for(3, group_size=2))
    lost = [queue.take("a"), queue.take("a")]
    queue.take("b")
    queue.give_back("a", lost)
    assert [queue.take("c").key for _ in range(3)] == [(0, 0), (0, 1), (2, 0)]


def test_requests_that_come_and_go_while_others_are_sampled(servers, tiny_checkpoint):
    engine, results = open_client(tiny_checkpoint, servers, max_num_seqs=2), {}
    requests = requests_for(6)
    first, late, unwanted = requests[:32], requests[32:], {request.key for request in requests[24:40]}
    changes = iter([Change(added=late), Change(aborted=unwanted)])
    engine.sample(first, results.__setitem__, lambda: next(changes, Change()))
    wanted = [request for request in requests if request.key not in unwanted]
    assert_all_sampled(results, wanted)
    assert sum(len(server.prompts) for server in servers) == len(wanted), "what nobody wants does not reach a server"


def test_a_request_that_nobody_needs_is_forgotten_wherever_it_waits():
    queue = Queue(requests_for(2, group_size=2))
    queue.take("a")
    queue.drop({(0, 1), (1, 0)})
    assert len(queue) == 1
    assert queue.take("a").key == (1, 1)
    assert queue.take("a") is None


def test_a_server_that_refuses_is_retired_and_the_others_do_its_work(servers, tiny_checkpoint):
    engine = open_client(tiny_checkpoint, servers)
    servers[1].is_refusing = True
    requests = requests_for(6)
    assert_all_sampled(sample(engine, requests), requests)
    before = sum(servers[1].calls.values())
    assert_all_sampled(sample(engine, requests), requests)
    assert sum(servers[1].calls.values()) == before


def test_a_retired_server_takes_part_again_after_the_next_weight_update(servers, tiny_checkpoint):
    engine = open_client(tiny_checkpoint, servers)
    servers[1].is_refusing = True
    sample(engine, requests_for(6))
    servers[1].is_refusing, servers[1].prompts = False, []
    engine.load_weights(tiny_checkpoint)
    sample(engine, requests_for(6))
    assert len(servers[1].prompts) == 16


def test_a_server_that_was_restarted_does_not_sample_before_it_has_the_weights(servers, tiny_checkpoint):
    engine = open_client(tiny_checkpoint, servers)
    engine.load_weights(tiny_checkpoint)
    servers[2].version = "default"
    requests = requests_for(6)
    assert_all_sampled(sample(engine, requests), requests)
    assert servers[2].prompts == []


def test_below_the_floor_of_live_servers_the_run_is_told_to_leave(servers, tiny_checkpoint):
    engine = open_client(tiny_checkpoint, servers, min_live_share=0.6)
    servers[0].is_refusing = servers[1].is_refusing = True
    with pytest.raises(TooFewServers, match=r"1 of 3 servers are left.*min_live_share=0\.6 asks for 2"):
        sample(engine, requests_for(6))
    with pytest.raises(TooFewServers):
        engine.use_context(CONTEXT)


def test_a_request_that_every_server_refuses_is_an_error_and_no_reason_to_retire_them_all(servers, tiny_checkpoint):
    engine = open_client(tiny_checkpoint, servers, min_live_share=0.1)
    for server in servers:
        server.is_refusing = True
    with pytest.raises(UserError, match=r"3 servers gave no answer to the request \(0, 0\).*: no more"):
        sample(engine, requests_for(1, group_size=1))


def test_a_cache_that_is_not_dropped_retires_its_server(servers, tiny_checkpoint):
    engine = open_client(tiny_checkpoint, servers)
    servers[0].caches_are_held = True
    engine.load_weights(tiny_checkpoint)
    sample(engine, requests_for(6))
    assert servers[0].prompts == []


def test_cached_prefixes_are_salted_with_the_weights_and_the_context(servers, tiny_checkpoint):
    engine = open_client(tiny_checkpoint, servers)
    for context in (CONTEXT, 2 * CONTEXT):
        engine.use_context(context)
        engine.load_weights(tiny_checkpoint)
        sample(engine, requests_for(3))
    assert all(len(server.salts) == 2 for server in servers)
    assert len(set.union(*[server.salts for server in servers])) == 2


def test_a_client_needs_the_token_of_its_job(servers, tiny_checkpoint, monkeypatch):
    monkeypatch.delenv("ABLATE_SERVER_TOKEN")
    with pytest.raises(UserError, match="ABLATE_SERVER_TOKEN is not set"):
        open_client(tiny_checkpoint, servers)


def test_a_server_with_too_short_a_context_is_named_with_the_command_that_starts_one(servers, tiny_checkpoint):
    config = small_engine_config(placement="servers", urls=[servers[0].url])
    with pytest.raises(UserError, match=rf"{servers[0].url} serves 320 tokens.* 640: .*python -m vllm"):
        open_engine(tiny_checkpoint, config, CONTEXT, CONTEXT, longest=4 * CONTEXT)


def test_a_server_that_reads_weights_for_longer_than_its_silence_is_not_retired(servers, tiny_checkpoint, capfd):
    engine = open_client(tiny_checkpoint, servers, silence_s=0.4)

    async def slow_disk(request, right):
        if request.path == "/collective_rpc" and (await request.json())["method"] == "replace_weights_from_directory":
            await asyncio.sleep(3 * 0.4)

    servers[0].lies = slow_disk
    engine.load_weights(tiny_checkpoint)
    sample(engine, requests_for(6))
    assert capfd.readouterr().err == ""
    assert all(server.prompts for server in servers)
    assert servers[0].calls["/health"] > 0


def test_a_server_that_hangs_while_it_reads_weights_is_retired_after_its_silence(servers, tiny_checkpoint, capfd):
    engine = open_client(tiny_checkpoint, servers, silence_s=0.4)

    async def hangs(request, right):
        body = await request.json() if request.method == "POST" else {}
        if request.path == "/health" or body.get("method") == "replace_weights_from_directory":
            await asyncio.sleep(600)

    servers[0].lies = hangs
    engine.load_weights(tiny_checkpoint)
    assert f"{servers[0].url}/health has not answered for 0.4 s" in capfd.readouterr().err
