"""A server that answers vLLM's routes as it does, and sleeps where vLLM computes.

    python -m benchmarks.overlap.sleeping_server MODEL_DIR PORT LONGEST_S

A response lasts LONGEST_S times its share of the context. Shares are drawn by the seed of the request from a lognormal
distribution: a fifth of them reach the limit, and the mean is 64 %. This is an estimate for NousCoder-14B (20.9k of
32,768 tokens). Half of the responses that end hold the reference program of their problem, and the others a wrong
program. No two are the same, so that the verifier runs every one.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable
from typing import Any

from aiohttp import web

MEAN_LOG, STD_LOG = -0.488, 0.58  # P(share >= 1) = 0.2, mean of min(share, 1) = 0.64
WRONG_PROGRAM = "print(input()*7)"


def main() -> None:
    model_dir, port, longest_s = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    app = web.Application()
    server = SleepingServer(answers(model_dir), longest_s)
    app.router.add_route("*", "/{path:.*}", server.handle)
    web.run_app(app, host="127.0.0.1", port=port, print=None, access_log=None)


def answers(model_dir: str) -> Callable[[tuple[int, ...], int], list[int]]:
    """A function from a prompt's tokens and a seed to the tokens of a finished response."""
    from ablate.data.problems import load_problems
    from ablate.data.prompts import make_prompts
    from ablate.data.tokenizer import CLOSE_FENCE, EOS, OPEN_FENCE, load_tokenizer

    tokenizer = load_tokenizer(model_dir)
    problems = load_problems("shipped:tiny_train.jsonl")
    templates = tiny_templates()
    prompts = make_prompts(problems, tokenizer, templates)
    references = {prompt.token_ids: problem.reference for problem, prompt in zip(problems, prompts, strict=True)}

    def answer(prompt_ids: tuple[int, ...], seed: int) -> list[int]:
        program = references[prompt_ids] if seed % 2 else WRONG_PROGRAM
        text = f"{OPEN_FENCE}{program}\n#{seed % 100_000}{CLOSE_FENCE}{EOS}"
        return tokenizer.encode(text, add_special_tokens=False)

    return answer


def tiny_templates() -> Any:
    from ablate.cli import compose
    from ablate.config import parse
    from ablate.data.templates import make_templates

    return make_templates(parse(compose([])).data)


class SleepingServer:
    def __init__(self, answer: Callable[[tuple[int, ...], int], list[int]], longest_s: float) -> None:
        self.answer, self.longest_s = answer, longest_s
        self.version = "default"

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else {}
        if request.path == "/v1/completions":
            return web.json_response({"choices": [await self.complete(body)]})
        if request.path == "/update_weight_version":
            self.version = body["new_version"]
        fixed = {
            "/v1/models": {"data": [{"id": "sleeping", "max_model_len": 1_000_000}]},
            "/weight_info": {"weight_version": self.version},
            "/reset_prefix_cache": {"success": True},
        }
        return web.json_response(fixed.get(request.path, {}))

    async def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        seed = body["seed"]
        share = min(1.0, random.Random(seed).lognormvariate(MEAN_LOG, STD_LOG))
        await asyncio.sleep(self.longest_s * share)
        ids = self.answer(tuple(body["prompt"]), seed)
        is_cut = share == 1.0 or len(ids) > body["max_tokens"]
        if is_cut:
            ids = (ids[1:-1] * body["max_tokens"])[: body["max_tokens"]]  # no fence: it holds no program
        logprobs = {"token_logprobs": [-0.5] * len(ids)}
        finish_reason = "length" if is_cut else "stop"
        return {
            "prompt_token_ids": body["prompt"],
            "token_ids": ids,
            "logprobs": logprobs,
            "finish_reason": finish_reason,
        }


if __name__ == "__main__":
    main()
