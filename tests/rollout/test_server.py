"""A pool of real vLLM servers samples what the engine in this process samples, whatever happens to the servers."""

from __future__ import annotations

import json
import signal
import urllib.request
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, Qwen3ForCausalLM

from ablate.errors import UserError
from ablate.rollout.engine import Request, WeightsIncomplete
from ablate.rollout.open import open_engine
from ablate.rollout.weights.shared import SharedHandOff

from ..trainer.jobs import logs, start_ranks, wait_for_ranks
from .conftest import CONTEXT, small_engine_config
from .real_servers import TOKEN, Server, status

ROOT = Path(__file__).parents[2]


def requests_for(num_requests: int, max_new_tokens: int = 60) -> list[Request]:
    return [
        Request(("row", index), tuple(range(3, 20 + index)), 7 + index, max_new_tokens, 0.8, 0.9)
        for index in range(num_requests)
    ]


def sample(engine, requests):
    results = {}
    engine.sample(requests, results.__setitem__)
    return results


def other_tensors(model_dir, seed: int):
    """Other weights of the same architecture; the tied head has no name in a checkpoint."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen3ForCausalLM(AutoConfig.from_pretrained(model_dir))
    return [(name, tensor) for name, tensor in model.state_dict().items() if name != "lm_head.weight"]


@pytest.fixture(scope="module")
def pair(tiny_checkpoint, tmp_path_factory):
    directory = tmp_path_factory.mktemp("servers")
    two = [Server(tiny_checkpoint, directory / f"log{index}") for index in range(2)]
    try:
        for server in two:
            server.start()
        for server in two:
            server.wait()
        yield two
    finally:
        for server in two:
            server.end()


@pytest.fixture(autouse=True)
def token(monkeypatch):
    monkeypatch.setenv("ABLATE_SERVER_TOKEN", TOKEN)


def open_client(model_dir, servers, **changes):
    changes = {"urls": [server.url for server in servers], "max_num_seqs": 8, **changes}
    return open_engine(
        model_dir, small_engine_config(placement="servers", **changes), CONTEXT, CONTEXT, longest=2 * CONTEXT
    )


def open_patient_client(model_dir, servers):
    """A client that keeps sampling with one of two servers, and counts a server as dead after 5 s without an answer."""
    return open_client(model_dir, servers, min_live_share=0.5, silence_s=5, bucket_mib=0.05)


@pytest.mark.parametrize("transfer", ["broadcast", "file"])
def test_servers_sample_what_the_engine_in_this_process_samples(transfer, pair, engine, tiny_checkpoint, tmp_path):
    client = open_client(tiny_checkpoint, pair, weight_transfer=transfer, weights_dir=str(tmp_path), bucket_mib=0.05)
    requests = requests_for(20)
    client.load_weights(tiny_checkpoint)
    assert_equal(sample(client, requests), sample(engine, requests))
    tensors = other_tensors(tiny_checkpoint, seed=5)
    for model in (client, engine):
        model.load_weights(tensors)
    after = sample(client, requests)
    assert_equal(after, sample(engine, requests))
    assert list(tmp_path.iterdir()) == []  # nothing is left in the shared directory
    client.load_weights(tiny_checkpoint)
    assert sample(client, requests[:1]) != {requests[0].key: after[requests[0].key]}


def assert_equal(results, expected):
    assert results.keys() == expected.keys()
    for key, result in results.items():
        assert result.response_ids == expected[key].response_ids
        assert result.finished == expected[key].finished
        assert list(result.logp) == pytest.approx(list(expected[key].logp), abs=1e-4)


def test_servers_sleep_and_take_weights_through_memory_before_they_wake(pair, engine, tiny_checkpoint):
    client = open_client(tiny_checkpoint, pair, share_gpus=True)
    hand_off = SharedHandOff(50_000, lambda own: [own], rank=0)
    requests = requests_for(8)
    for seed in (5, 6):
        client.sleep()
        assert [is_sleeping(server) for server in pair] == [True, True]
        tensors = other_tensors(tiny_checkpoint, seed)
        client.load_weights(hand_off.messages(tensors))
        assert [is_sleeping(server) for server in pair] == [False, False]
        engine.load_weights(tensors)
        assert_equal(sample(client, requests), sample(engine, requests))


def is_sleeping(server) -> bool:
    request = urllib.request.Request(f"{server.url}/is_sleeping", headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=6000) as answer:
        return json.load(answer)["is_sleeping"]


def test_servers_stretch_positions_for_a_context_and_take_them_back(pair, tiny_checkpoint):
    client = open_client(tiny_checkpoint, pair)
    client.load_weights(tiny_checkpoint)
    requests = requests_for(8)
    expected = sample(client, requests)
    client.use_context(2 * CONTEXT)
    stretched = sample(client, requests)
    assert stretched != expected
    client.load_weights(tiny_checkpoint)
    assert sample(client, requests) == stretched
    client.use_context(CONTEXT)
    assert sample(client, requests) == expected


@pytest.mark.parametrize("wrong", ["", "another token"])
def test_every_route_demands_the_token_of_the_job(wrong, pair):
    request = urllib.request.Request(f"{pair[0].url}/openapi.json", headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=6000) as answer:
        routes = json.load(answer)["paths"]
    assert {"/health", "/v1/completions", "/collective_rpc", "/update_weights", "/pause"} <= routes.keys()
    answers = {
        (path, method): status(pair[0].url + path, method.upper(), wrong)
        for path, methods in routes.items()
        for method in methods
    }
    assert set(answers.values()) == {401}, answers
    assert status(pair[0].url + "/no/such/route", "GET", wrong) == 401


def test_a_server_killed_in_mid_batch_changes_no_result(pair, tiny_checkpoint):
    client = open_patient_client(tiny_checkpoint, pair)
    client.load_weights(tiny_checkpoint)
    requests = requests_for(40)
    expected = sample(client, requests)
    results = {}

    def on_finish(key, result):
        assert key not in results
        results[key] = result
        if len(results) == 5:
            pair[1].end()

    client.sample(requests, on_finish)
    assert results == expected  # bit for bit
    pair[1].start()
    pair[1].wait()
    assert sample(client, requests) == expected
    assert client._pool.live == [pair[0].url]  # it has no weights yet
    client.load_weights(tiny_checkpoint)
    assert client._pool.live == [server.url for server in pair]
    assert sample(client, requests) == expected


def test_a_server_that_hangs_in_a_batch_loses_its_requests_to_the_others(pair, tiny_checkpoint):
    client = open_patient_client(tiny_checkpoint, pair)
    client.load_weights(tiny_checkpoint)
    requests = requests_for(20)
    expected = sample(client, requests)
    pair[1].send(signal.SIGSTOP)
    try:
        assert sample(client, requests) == expected
    finally:
        pair[1].send(signal.SIGCONT)
    assert client._pool.live == [pair[0].url]


def test_a_server_that_stops_in_the_middle_of_a_broadcast_is_named_and_the_others_are_loaded_again(
    pair, engine, tiny_checkpoint
):
    client = open_patient_client(tiny_checkpoint, pair)
    client.load_weights(tiny_checkpoint)
    tensors = other_tensors(tiny_checkpoint, seed=6)

    def hanging_in_the_middle():
        for index, pair_of_both in enumerate(tensors):
            if index == len(tensors) // 2:
                pair[1].send(signal.SIGSTOP)
            yield pair_of_both

    try:
        with pytest.raises(WeightsIncomplete, match=f"{pair[1].url}.* did not take part in a weight update for 5 s"):
            client.load_weights(hanging_in_the_middle())
        client.load_weights(tensors)
        engine.load_weights(tensors)
        requests = requests_for(8)
        assert_equal(sample(client, requests), sample(engine, requests))
    finally:
        pair[1].send(signal.SIGCONT)
    client.load_weights(tensors)
    assert client._pool.live == [server.url for server in pair]
    assert_equal(sample(client, requests), sample(engine, requests))


def test_two_trainer_ranks_load_the_servers_again_when_one_hangs_in_the_middle(pair, engine, tiny_checkpoint, tmp_path):
    script, out = Path(__file__).with_name("broadcast_from_two_ranks.py"), tmp_path / "sampled.json"
    urls, pid = [server.url for server in pair], str(pair[1].process.pid)
    ranks = start_ranks(2, [str(script), str(tiny_checkpoint), *urls, pid, str(out)], tmp_path)
    try:
        assert wait_for_ranks(ranks, tmp_path, 120) == [0, 0], logs(tmp_path)
    finally:
        pair[1].send(signal.SIGCONT)
    result = json.loads(out.read_text())
    requests = [Request(index, tuple(range(3, 20 + index)), 7 + index, 20, 1.0, 1.0) for index in range(6)]
    expected = sample(engine, requests)
    assert result["sampled"] == [list(expected[request.key].response_ids) for request in requests]
    assert result["live"] == [pair[0].url]


def test_an_exception_in_the_callback_reaches_the_caller(pair, tiny_checkpoint):
    def fail(key, result):
        raise RuntimeError("the caller's own")

    client = open_client(tiny_checkpoint, pair)
    client.load_weights(tiny_checkpoint)  # another client may have loaded others since
    with pytest.raises(RuntimeError, match="the caller's own"):
        client.sample(requests_for(4), fail)


def test_the_file_hand_off_needs_a_directory_that_the_servers_share(pair, tiny_checkpoint):
    with pytest.raises(UserError, match="weights_dir"):
        open_client(tiny_checkpoint, pair, weight_transfer="file").load_weights(iter([]))


def test_a_server_that_does_not_answer_is_the_users_mistake(tiny_checkpoint):
    with pytest.raises(UserError, match=r"no server answers at http://127\.0\.0\.1:1 "):
        open_client(tiny_checkpoint, [], urls=["http://127.0.0.1:1"])


def test_a_client_without_addresses_is_the_users_mistake(tiny_checkpoint):
    with pytest.raises(UserError, match=r"rollout\.engine\.urls"):
        open_client(tiny_checkpoint, [])
