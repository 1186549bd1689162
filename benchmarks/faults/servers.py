"""Part h: servers whose answers are damaged, late, endless or of other weights; another one samples all the same.

Each trial has one honest server and one that tells one lie to every completion: a mutated answer, a status, a body that
never ends, an answer that never comes, or a restart with other weights.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import runpy
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import redirect_stderr, suppress
from io import StringIO
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from ablate.config import EngineConfig, section
from ablate.data.tokenizer import character_tokenizer
from ablate.errors import UserError
from ablate.rollout.engine import Request
from ablate.rollout.open import close_engines, open_engine
from benchmarks.faults.malformed import mutated
from benchmarks.faults.runs import ROOT
from benchmarks.faults.table import Trial, TrialFile

CONTEXT, END, MAX_TOKENS, NUM_REQUESTS = 160, 2, 9, 6
STATUSES = (204, 301, 307, 400, 401, 404, 408, 413, 429, 500, 503)
RETIRED = "a server is out until the next weight update"
Lie = Callable[[Any, Any], Awaitable[Any]]  # (request, the right answer) -> the answer, or None for the right one


def run_servers(file: TrialFile, count: int, seed: int, work: Path) -> None:
    """``count`` lies in turn of all kinds."""
    stand_ins = runpy.run_path(str(ROOT / "tests" / "rollout" / "stand_in_servers.py"))
    os.environ.setdefault("ABLATE_SERVER_TOKEN", "of this campaign")
    done = sum(trial.part == "servers" for trial in file.read())
    with tempfile.TemporaryDirectory() as directory:
        model_dir = write_model(Path(directory))
        for number in range(done, count):
            name = list(LIES)[number % len(LIES)]
            with stand_ins["stand_ins"](2) as servers:
                lie = LIES[name](random.Random(f"{seed}/{number}"), servers[1])
                outcome, detail = outcome_of(model_dir, servers, lie, stand_ins["response_to"])
            file.append(Trial("servers", name, True, outcome, detail))


def outcome_of(model_dir: Path, servers: list[Any], lie: Lie, response_to: Callable) -> tuple[str, str]:
    """What became of a batch, and what was said about it."""
    requests = [Request((0, n), (3, n, 5), 1000 + n, MAX_TOKENS, 1.0, 1.0) for n in range(NUM_REQUESTS)]
    values = OmegaConf.load(ROOT / "conf" / "rollout" / "tiny.yaml").engine
    changes = {"placement": "servers", "urls": [server.url for server in servers], "kv_cache_gib": 0.125}
    changes |= {"silence_s": 5, "min_tokens_per_s": 12, "max_num_seqs": 2}
    config = section(EngineConfig, OmegaConf.merge(values, changes), "rollout.engine")
    results: dict[Any, Any] = {}
    said = StringIO()
    try:
        with redirect_stderr(said):
            engine = open_engine(model_dir, config, CONTEXT, CONTEXT, longest=CONTEXT)
            engine.load_weights(model_dir)
            servers[1].lies = lie
            engine.sample(requests, results.__setitem__)
    except UserError as error:
        return "the run ended with one sentence, although a server was well", str(error)
    except Exception as error:
        return f"{type(error).__name__} at the user", str(error)
    finally:
        close_engines()
    if len(results) != NUM_REQUESTS:
        return "requests were lost", said.getvalue()
    changed = [key for key, r in results.items() if tuple(r.response_ids) != tuple(response_to(1000 + key[1], END))]
    what = "another sample that a model could have given was taken" if changed else "all samples are right"
    return what + (", and the server was retired" if RETIRED in said.getvalue() else ""), ""


def completions_only(answer: Callable[[Any, Any], Awaitable[Any]]) -> Lie:
    async def lie(request: Any, right: Any) -> Any:
        return await answer(request, right) if request.path == "/v1/completions" else None

    return lie


def damaged(draw: random.Random, server: Any) -> Lie:
    from aiohttp import web

    async def answer(request: Any, right: Any) -> Any:
        body = mutated(json.dumps(right).encode(), draw)
        return web.Response(body=body, content_type="application/json")

    return completions_only(answer)


def refusing(draw: random.Random, server: Any) -> Lie:
    from aiohttp import web

    status = draw.choice(STATUSES)

    async def answer(request: Any, right: Any) -> Any:
        headers = {"Location": "http://127.0.0.1:1/v1/completions"} if status in (301, 307) else {}
        return web.Response(status=status, body=draw.randbytes(draw.choice((0, 20, 10**6))), headers=headers)

    return completions_only(answer)


def endless(draw: random.Random, server: Any) -> Lie:
    from aiohttp import web

    piece, pause_s = draw.choice([(b" " * 2**16, 0.0), (b" ", 0.05), (b'{"choices": [', 0.5)])

    async def answer(request: Any, right: Any) -> Any:
        stream = web.StreamResponse()
        await stream.prepare(request)
        with suppress(ConnectionError):
            while True:
                await stream.write(piece)
                await asyncio.sleep(pause_s)
        return stream

    return completions_only(answer)


def silent(draw: random.Random, server: Any) -> Lie:
    async def answer(request: Any, right: Any) -> Any:
        await asyncio.sleep(600)

    return completions_only(answer)


def restarting(draw: random.Random, server: Any) -> Lie:
    left = draw.randrange(4)

    async def answer(request: Any, right: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            server.version = "default"
            right["choices"][0]["token_ids"][0] = 50

    return completions_only(answer)


LIES = {
    "a damaged answer": damaged,
    "another damaged answer": damaged,
    "a status": refusing,
    "an endless answer": endless,
    "no answer": silent,
    "a restart with other weights": restarting,
}


def write_model(directory: Path) -> Path:
    """A model's directory of which a client of servers reads the configuration and the tokenizer only."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    tokenizer = character_tokenizer()
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "head_dim": 32}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": CONTEXT}
    config = Qwen3Config(vocab_size=len(tokenizer), tie_word_embeddings=True, eos_token_id=END, **sizes, **heads)
    Qwen3ForCausalLM(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory
