"""Servers that answer vLLM's routes as it does, or falsely, and sample nothing: for tests of who is asked what.

What they "sample" spells the seed of the request: see ``response_to``.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass
class StandIn:
    """One server, and what it has seen."""

    version: str = "default"
    caches_are_held: bool = False
    is_refusing: bool = False
    prompts: list[tuple[int, ...]] = field(default_factory=list)
    salts: set[str] = field(default_factory=set)
    calls: Counter[str] = field(default_factory=Counter)
    most_in_flight: int = 0
    num_in_flight: int = 0
    url: str = ""
    # Answers a request in place of this server: gets the request and what would be right. None: leave it as it is.
    lies: Callable[[web.Request, Any], Awaitable[web.StreamResponse | None]] | None = None

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.calls[request.path] += 1
        if self.is_refusing:
            return web.Response(status=500, text="no more")
        body = await request.json() if request.method == "POST" else {}
        if set(body.get("cache_salt", "")) & set("@/\\\0"):
            return web.Response(status=400, text="vLLM 0.31 refuses such a cache_salt")
        right = await self.right_answer(request.path, body)
        lie = await self.lies(request, right) if self.lies is not None else None
        return web.Response(text=json.dumps(right), content_type="application/json") if lie is None else lie

    async def right_answer(self, path: str, body: dict) -> dict:
        if path == "/v1/completions":
            return {"choices": [await self.completion(body)]}
        if path == "/update_weight_version":
            self.version = body["new_version"]
        answers = {
            "/v1/models": {"data": [{"id": "stand-in", "max_model_len": 320}]},
            "/weight_info": {"weight_version": self.version},
            "/reset_prefix_cache": {"success": not self.caches_are_held},
        }
        return answers.get(path, {})

    async def completion(self, body: dict) -> dict:
        self.prompts.append(tuple(body["prompt"]))
        self.salts.add(body["cache_salt"])
        self.num_in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.num_in_flight)
        await asyncio.sleep(0.002)
        self.num_in_flight -= 1
        ids = response_to(body["seed"], body["stop_token_ids"][0])
        return {
            "prompt_token_ids": body["prompt"],
            "token_ids": ids,
            "logprobs": {"token_logprobs": [-0.5] * len(ids)},
            "finish_reason": "stop",
        }


def response_to(seed: int, stop_id: int) -> list[int]:
    """The seed in base 32, in tokens of the character tokenizer, then the token that ends a response."""
    return [10 + seed // 32**place % 32 for place in range(3)] + [stop_id]


@contextmanager
def stand_ins(count: int) -> Iterator[list[StandIn]]:
    """Start ``count`` servers on loopback, in a thread of their own."""
    servers = [StandIn() for _ in range(count)]
    loop = asyncio.new_event_loop()

    async def start() -> None:
        for server in servers:
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", server.answer)
            runner = web.AppRunner(app)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            server.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"

    loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield servers
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
