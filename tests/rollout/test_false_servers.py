"""A server that lies loses its work to the others, in one sentence, whatever the lie is."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import tracemalloc
from contextlib import suppress

import pytest
from aiohttp import web

from ablate.errors import UserError
from ablate.rollout.engine import Request
from ablate.rollout.open import open_engine

from .conftest import CONTEXT, small_engine_config
from .stand_in_servers import stand_ins
from .test_dispatch import assert_all_sampled, open_client, requests_for, sample, token  # noqa: F401

NUM_MIB = 200


@pytest.fixture
def servers():
    with stand_ins(2) as two:
        yield two


def instead(content: str | bytes, status: int = 200, **headers: str):
    """The answer to every completion."""

    async def lie(request: web.Request, right: object) -> web.Response | None:
        if request.path != "/v1/completions":
            return None
        body = content.encode() if isinstance(content, str) else content
        return web.Response(body=body, status=status, headers=headers)

    return lie


def changed(**changes: object):
    """The right answer to every completion but for these fields of its choice; a function maps the right value."""

    async def lie(request: web.Request, right: dict) -> web.Response | None:
        if request.path != "/v1/completions":
            return None
        choice = right["choices"][0]
        for name, value in changes.items():
            choice[name] = value(choice[name]) if callable(value) else value
        return web.Response(text=json.dumps(right), content_type="application/json")

    return lie


def log_probabilities(*values: object):
    return changed(logprobs={"token_logprobs": list(values)})


async def never(request: web.Request, right: object) -> web.Response | None:
    if request.path == "/v1/completions":
        await asyncio.sleep(600)


async def drips(request: web.Request, right: object) -> web.StreamResponse | None:
    if request.path != "/v1/completions":
        return None
    answer = web.StreamResponse()
    await answer.prepare(request)
    while True:
        await answer.write(b" ")
        await asyncio.sleep(0.02)


async def flood(request: web.Request, right: object) -> web.StreamResponse | None:
    if request.path != "/v1/completions":
        return None
    answer = web.StreamResponse()
    await answer.prepare(request)
    with suppress(ConnectionError):
        for _ in range(NUM_MIB):
            await answer.write(b" " * 2**20)
    return answer


LIES = {
    "not a number": (log_probabilities(-0.5, float("nan"), -0.5, -0.5), "another form: JSON is malformed"),
    "minus infinity, as vLLM writes it": (log_probabilities(-0.5, -9999.0, -0.5, -0.5), "log-probability -9999"),
    "a probability above 1": (log_probabilities(-0.5, 5, -0.5, -0.5), "the log-probability 5$"),
    "one log-probability": (log_probabilities(-0.5), "1 log-probabilities for 4 tokens"),
    "too many log-probabilities": (log_probabilities(*[-0.5] * 5), "5 log-probabilities for 4 tokens"),
    "no log-probability": (changed(logprobs=None), "another form: Expected `object`, got `null`"),
    "no token": (changed(token_ids=[], logprobs={"token_logprobs": []}), "an answer without a token"),
    "more tokens than were asked for": (
        changed(token_ids=[9] * 232 + [2], logprobs={"token_logprobs": [-0.5] * 233}),
        "233 tokens, where max_tokens was 9",
    ),
    "the answer to another prompt": (changed(prompt_token_ids=[3, 99, 5]), "an answer to another prompt"),
    "no prompt": (changed(prompt_token_ids=None), "another form: Expected `array`, got `null`"),
    "a stop without the end token": (changed(token_ids=lambda ids: [*ids[:-1], 9]), "no end token"),
    "tokens after the end token": (changed(token_ids=lambda ids: [*ids[:1], 2, *ids[2:]]), "tokens after the end"),
    "a length below max_tokens": (changed(finish_reason="length"), "cut at 4 tokens, where max_tokens was 9"),
    "a reason of its own": (changed(finish_reason="abort"), "ended a request for the reason abort"),
    "an id beyond the vocabulary": (changed(token_ids=lambda ids: [104, *ids[1:]]), "token 104, and the model has 104"),
    "an id beyond every integer": (changed(token_ids=lambda ids: [2**40, *ids[1:]]), "another form: Expected `int`"),
    "a negative id": (changed(token_ids=lambda ids: [-1, *ids[1:]]), "another form: Expected `int` >= 0"),
    "ids that are text": (changed(token_ids=["7"] * 4), "another form: Expected `int`, got `str`"),
    "an error": (instead('{"error": {"message": "no", "code": 400}}'), "another form: .*missing.*`choices`"),
    "null": (instead("null"), "another form: Expected `object`, got `null`"),
    "a list": (instead("[]"), "another form: Expected `object`, got `array`"),
    "an empty answer": (instead(""), "another form: Input data was truncated"),
    "no choice": (instead('{"choices": []}'), "another form: Expected `array` of length >= 1"),
    "a page": (instead("<html>"), "another form: JSON is malformed"),
    "nesting that would end a parser": (instead("[" * 100_000), "sends more than|another form"),
    "400": (instead("no such\n  model", 400), "answered 400: no such model$"),
    "401": (instead("", 401), "refuses this job's token"),
    "404": (instead("", 404), "does not exist there"),
    "429": (instead("slowly", 429), "answered 429: slowly"),
    "a redirect": (instead("", 307, Location="http://127.0.0.1:1/v1/completions"), "answered 307"),
    "a long reason": (instead("x" * 100_000, 500), "answered 500: x{1000}$"),
    "a gzip bomb": (
        instead(gzip.compress(b" " * 10 * 2**20), **{"Content-Encoding": "gzip"}),
        "sends a compressed answer",
    ),
    "200 MB": (flood, "sends more than 71680 bytes"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_false_answer_retires_its_server_with_one_sentence_and_the_other_samples(
    lie, servers, tiny_checkpoint, capfd
):
    engine, requests = open_client(tiny_checkpoint, servers), requests_for(6)
    servers[1].lies, sentence = LIES[lie]
    assert_all_sampled(sample(engine, requests), requests)
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 1
    assert re.search(rf"^a server is out until the next weight update: {servers[1].url}.*{sentence}", said[0]), said


@pytest.mark.parametrize("lie", ["200 MB", "a gzip bomb"])
def test_a_false_answer_takes_no_memory(lie, servers, tiny_checkpoint):
    engine, requests = open_client(tiny_checkpoint, servers), requests_for(1)
    servers[1].lies, _ = LIES[lie]
    tracemalloc.start()
    try:
        sample(engine, requests)
        assert tracemalloc.get_traced_memory()[1] < 40 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("lie", [never, drips])
def test_a_request_has_a_deadline_that_grows_with_its_tokens(lie, servers, tiny_checkpoint, capfd):
    engine = open_client(tiny_checkpoint, servers, silence_s=8, min_tokens_per_s=12)
    servers[1].lies = lie
    requests = requests_for(6)
    assert_all_sampled(sample(engine, requests), requests)
    assert "has not answered for 9 s" in capfd.readouterr().err  # 8 s, and a second for 3 + 9 tokens


def test_a_server_that_restarts_in_mid_batch_hands_on_nothing_from_its_other_weights(servers, tiny_checkpoint, capfd):
    engine, num_answers = open_client(tiny_checkpoint, servers, max_num_seqs=2), 0
    engine.load_weights(tiny_checkpoint)

    async def restarts(request: web.Request, right: dict) -> web.Response | None:
        nonlocal num_answers
        if request.path == "/v1/completions":
            num_answers += 1
            if num_answers == 5:
                servers[1].version = "default"
            if num_answers >= 5:
                right["choices"][0]["token_ids"][0] = 50

    servers[1].lies = restarts
    requests = requests_for(6)
    assert_all_sampled(sample(engine, requests), requests)
    assert num_answers >= 5
    assert "has other weights: it was started again" in capfd.readouterr().err


@pytest.mark.parametrize("answer", ["{}", "null", "[]", '{"data": [{}]}', "x" * 2 * 2**20])
@pytest.mark.parametrize("route", ["/v1/models", "/weight_info", "/reset_prefix_cache"])
def test_a_false_answer_on_another_route_is_one_sentence(route, answer, servers, tiny_checkpoint, capfd):
    async def lie(request: web.Request, right: object) -> web.Response | None:
        return web.Response(text=answer) if request.path == route else None

    servers[1].lies = lie
    if route != "/reset_prefix_cache":
        with pytest.raises(UserError, match=rf"no server of this run answers at {servers[1].url} .*{route} sen(t|ds)"):
            open_client(tiny_checkpoint, servers)
        return
    engine, requests = open_client(tiny_checkpoint, servers), requests_for(6)
    engine.load_weights(tiny_checkpoint)
    assert_all_sampled(sample(engine, requests), requests)
    assert re.search(rf"{servers[1].url}{route} sen(t|ds)", capfd.readouterr().err)


def test_a_fault_of_all_servers_is_an_error_and_not_a_reason_to_queue_the_run_again(servers, tiny_checkpoint):
    engine = open_client(tiny_checkpoint, servers)
    for server in servers:
        server.lies = log_probabilities(-0.5, 5, -0.5, -0.5)
    with pytest.raises(UserError, match=r"each gave a wrong answer: .*the log-probability 5"):
        sample(engine, requests_for(6))


def test_the_only_server_that_refuses_a_request_is_quoted(servers, tiny_checkpoint):
    config = small_engine_config(placement="servers", urls=[servers[0].url])
    engine = open_engine(tiny_checkpoint, config, CONTEXT, CONTEXT)
    servers[0].lies = instead("the prompt is too long", 400)
    with pytest.raises(UserError, match=r"the only server gave no answer to the request 1 .*: the prompt is too long"):
        sample(engine, [Request(1, (3, 4), 1, 9, 1.0, 1.0)])
