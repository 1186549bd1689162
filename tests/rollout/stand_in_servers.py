"""Three servers that answer vLLM's routes as it does, and sample nothing: for tests of who is asked what."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

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

    async def answer(self, request: web.Request) -> web.Response:
        self.calls[request.path] += 1
        if self.is_refusing:
            return web.Response(status=500, text="no more")
        body = await request.json() if request.method == "POST" else {}
        if set(body.get("cache_salt", "")) & set("@/\\\0"):
            return web.Response(status=400, text="vLLM 0.31 refuses such a cache_salt")
        if request.path == "/v1/completions":
            return web.json_response({"choices": [await self.completion(body)]})
        if request.path == "/update_weight_version":
            self.version = body["new_version"]
        answers = {
            "/v1/models": {"data": [{"id": "stand-in", "max_model_len": 320}]},
            "/weight_info": {"weight_version": self.version},
            "/reset_prefix_cache": {"success": not self.caches_are_held},
        }
        return web.json_response(answers.get(request.path, {}))

    async def completion(self, body: dict) -> dict:
        self.prompts.append(tuple(body["prompt"]))
        self.salts.add(body["cache_salt"])
        self.num_in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.num_in_flight)
        await asyncio.sleep(0.002)
        self.num_in_flight -= 1
        return {"token_ids": [body["seed"]], "logprobs": {"token_logprobs": [-0.5]}, "finish_reason": "stop"}


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
