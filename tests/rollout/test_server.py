"""A client of a real vLLM server samples what the engine in this process samples."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
import torch
from transformers import AutoConfig, Qwen3ForCausalLM

from ablate.errors import UserError
from ablate.rollout.engine import Request
from ablate.rollout.open import open_engine
from ablate.rollout.settings import engine_arguments, serve_command

from .conftest import CONTEXT, small_engine_config

START_LIMIT_S = 240


def requests_for(num_requests: int) -> list[Request]:
    return [
        Request(("row", index), tuple(range(3, 20 + index)), 7 + index, 60, 0.8, 0.9) for index in range(num_requests)
    ]


def sample(engine, requests):
    results = {}
    engine.sample(requests, results.__setitem__)
    return results


def is_up(url: str) -> bool:
    try:
        return urllib.request.urlopen(f"{url}/health", timeout=5).status == 200
    except (urllib.error.URLError, ConnectionError):
        return False


@pytest.fixture(scope="module")
def server(tiny_checkpoint, tmp_path_factory):
    """The address of a server on loopback, started with the words that a run's configuration gives."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    words = serve_command(tiny_checkpoint, engine_arguments(small_engine_config(), CONTEXT, {}, on_cpu=True))
    log = tmp_path_factory.mktemp("server") / "log"
    environment = {
        "VLLM_SERVER_DEV_MODE": "1",
        "OMP_NUM_THREADS": "1",
        "TORCHDYNAMO_DISABLE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, *words, "--host", "127.0.0.1", "--port", str(port)],
            stdout=output,
            stderr=output,
            env=os.environ | environment,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + START_LIMIT_S
        while not is_up(url):
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.5)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)


def open_client(model_dir, url, weights_dir=None, context_length=CONTEXT):
    config = small_engine_config(
        placement="servers", urls=[url], weights_dir=weights_dir and str(weights_dir), max_num_seqs=8
    )
    return open_engine(model_dir, config, context_length, CONTEXT)


def test_a_server_samples_what_the_engine_in_this_process_samples(server, engine, tiny_checkpoint, tmp_path):
    client = open_client(tiny_checkpoint, server, tmp_path)
    requests = requests_for(20)
    assert_equal(sample(client, requests), sample(engine, requests))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        new = Qwen3ForCausalLM(AutoConfig.from_pretrained(tiny_checkpoint))
    tensors = [(name, tensor) for name, tensor in new.state_dict().items() if name != "lm_head.weight"]
    client.load_weights(tensors)
    engine.load_weights(tensors)
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
        assert result.logp == pytest.approx(expected[key].logp, abs=1e-4)


def test_servers_of_other_contexts_are_listed_with_the_command_that_starts_one(server, tiny_checkpoint):
    with pytest.raises(UserError, match=rf"96 tokens .*{CONTEXT}.* python -m vllm.*--max-model-len 96"):
        open_client(tiny_checkpoint, server, context_length=96)


def test_new_weights_need_a_directory_that_the_servers_share(server, tiny_checkpoint):
    with pytest.raises(UserError, match="weights_dir"):
        open_client(tiny_checkpoint, server).load_weights(iter([]))


def test_an_exception_in_the_callback_reaches_the_caller(server, tiny_checkpoint):
    def fail(key, result):
        raise RuntimeError("the caller's own")

    with pytest.raises(RuntimeError, match="the caller's own"):
        open_client(tiny_checkpoint, server).sample(requests_for(4), fail)


def test_a_server_that_does_not_answer_is_the_users_mistake(tiny_checkpoint):
    with pytest.raises(UserError, match=r"no server answers at http://127\.0\.0\.1:1 "):
        open_client(tiny_checkpoint, "http://127.0.0.1:1")


def test_a_client_without_addresses_is_the_users_mistake(tiny_checkpoint):
    config = small_engine_config(placement="servers")
    with pytest.raises(UserError, match=r"rollout\.engine\.urls"):
        open_engine(tiny_checkpoint, config, CONTEXT, CONTEXT)
