"""A server that answers vLLM's routes, and sleeps as long as an engine of ``ablate.estimate`` needs for its batch.

    python -m benchmarks.overlap.batching_server MODEL_DIR PORT SPEC

SPEC is JSON, made by turns.py; its seconds are divided by its scale. A request's length follows from its seed. Groups
of one outcome, of which every answer is wrong, are drawn by prompt and weights.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import sys
import time
from typing import Any

from aiohttp import web

from ablate.estimate.decode import EngineSpeed
from ablate.estimate.server import Sequence, Server
from ablate.rollout.weights.shared import machine_name
from benchmarks.overlap.sleeping_server import answers


class Engine:
    """The estimate's server in real time: ``sample`` returns when the sequence has ended there."""

    def __init__(self, speed: EngineSpeed, max_num_seqs: int, scale: float) -> None:
        self.speed, self.max_num_seqs, self.scale = speed, max_num_seqs, scale
        self.count = 0
        self.reset()

    def reset(self) -> None:
        """Forget what runs, as an engine that falls asleep does."""
        self.server, self.start = Server(self.speed, self.max_num_seqs), time.monotonic()
        self.ended: dict[int, asyncio.Future[None]] = {}
        self.has_news = asyncio.Event()

    def now(self) -> float:
        return (time.monotonic() - self.start) * self.scale

    async def sample(self, prompt: int, response: int) -> None:
        self.count += 1
        done = self.ended[self.count] = asyncio.get_running_loop().create_future()
        self.settle()
        self.server.advance(self.now())
        self.server.add(Sequence(self.count, prompt, response), self.now())
        self.has_news.set()
        await done

    def settle(self) -> None:
        """Let end what has ended by now."""
        while (when := self.server.next_change()) is not None and when <= self.now():
            for sequence in self.server.change():
                future = self.ended.pop(sequence.index)
                if not future.done():
                    future.set_result(None)

    async def run(self) -> None:
        while True:
            when = self.server.next_change()
            delay_s = 3600.0 if when is None else max(0.0, when - self.now()) / self.scale
            self.has_news.clear()
            try:
                await asyncio.wait_for(self.has_news.wait(), delay_s)
            except TimeoutError:
                self.settle()


class BatchingServer:
    def __init__(self, model_dir: str, spec: dict[str, Any]) -> None:
        self.spec, self.answer = spec, answers(model_dir)
        self.engine = Engine(EngineSpeed(**spec["speed"]), spec["max_num_seqs"], spec["scale"])
        self.version = "default"

    async def start(self, _: web.Application) -> None:
        self.task = asyncio.ensure_future(self.engine.run())

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self.spec["scale"])

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else {}
        if request.path == "/v1/completions":
            return web.json_response({"choices": [await self.complete(body)]})
        if body.get("method") == "machine_name":
            return web.json_response({"results": [machine_name()]})
        if request.path == "/sleep":
            self.engine.reset()
            await self.wait(self.spec["switch_s"] / 2)
        if request.path == "/wake_up":  # once for the weights and once for the cache
            await self.wait(self.spec["switch_s"] / 4)
        if request.path == "/finish_weight_update":
            await self.wait(self.spec["weights_s"])
            self.version = body["weight_version"]
        fixed = {
            "/v1/models": {"data": [{"id": "batching", "max_model_len": 1_000_000}]},
            "/weight_info": {"weight_version": self.version},
            "/reset_prefix_cache": {"success": True},
        }
        return web.json_response(fixed.get(request.path, {}))

    async def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        lengths, context = self.spec["lengths"], self.spec["context"]
        draw = random.Random(body["seed"]).gauss(math.log(lengths["median"]), lengths["sigma"])
        response = max(1, min(round(math.exp(draw)), context - lengths["prompt"]))
        await self.engine.sample(lengths["prompt"], response)
        is_mixed = random.Random(f"{body['prompt']} {body['cache_salt']}").random() < self.spec["kept_share"]
        seed = body["seed"] if is_mixed else body["seed"] // 2 * 2  # an even one is answered with a wrong program
        ids = self.answer(tuple(body["prompt"]), seed)
        is_cut = lengths["prompt"] + response >= context or len(ids) > body["max_tokens"]
        if is_cut:
            ids = (ids[1:-1] * body["max_tokens"])[: body["max_tokens"]]  # no fence: it holds no program
        return {
            "prompt_token_ids": body["prompt"],
            "token_ids": ids,
            "logprobs": {"token_logprobs": [-0.5] * len(ids)},
            "finish_reason": "length" if is_cut else "stop",
        }


def main() -> None:
    model_dir, port, spec = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
    app, server = web.Application(), BatchingServer(model_dir, spec)
    app.router.add_route("*", "/{path:.*}", server.handle)
    app.on_startup.append(server.start)
    web.run_app(app, host="127.0.0.1", port=port, print=None, access_log=None)


if __name__ == "__main__":
    main()
