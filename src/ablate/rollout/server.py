"""A client of vLLM's servers on other machines (``placement: servers``).

The servers are started with ``python`` and the words of ``settings.serve_command``, with ``VLLM_SERVER_DEV_MODE=1`` in
their environment. That opens the routes that replace weights to anybody who can reach the port: start servers on
loopback or a private network only. Each server serves one context length; an evaluation at another context needs
servers that were started for that context.
"""

from __future__ import annotations

import asyncio
import shlex
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.errors import UserError
from ablate.preemption import unless_asked_to_stop
from ablate.rollout.engine import OnFinish, Request, Sampled
from ablate.rollout.weights_file import weights_file

if TYPE_CHECKING:
    from aiohttp import ClientSession
    from torch import Tensor

CONNECT_TIMEOUT_S = 10.0  # a response may take minutes, a connection may not


class ServerEngine:
    """Samples on every server that serves ``context_length`` tokens.

    Args:
        max_num_seqs: requests in flight per server.
        weights_dir: a directory that this process and the servers share.
        serve_command: the words after ``python`` that start such a server, for the error message.

    Raises:
        UserError: if no server serves that context, or one cannot be reached.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        context_length: int,
        max_num_seqs: int,
        weights_dir: str | None,
        stop_ids: list[int],
        serve_command: Sequence[str],
    ) -> None:
        if not urls:
            raise UserError("rollout.engine.placement=servers needs rollout.engine.urls=[http://HOST:PORT, ...]")
        models = asyncio.run(each_server(urls, get_model))
        self._models = {
            url: model["id"]
            for url, model in zip(urls, models, strict=True)
            if model["max_model_len"] == context_length
        }
        if not self._models:
            served = ", ".join(f"{url} {model['max_model_len']}" for url, model in zip(urls, models, strict=True))
            raise UserError(
                f"no server serves a context of {context_length} tokens ({served}): start one with "
                f"VLLM_SERVER_DEV_MODE=1 python {shlex.join(serve_command)}, and add it to rollout.engine.urls"
            )
        self._max_num_seqs = max_num_seqs
        self._weights_dir = weights_dir
        self._stop_ids = stop_ids

    def load_weights(self, weights: Iterable[tuple[str, Tensor]] | Path | str) -> None:
        """Replace the weights of every server; see ``Engine``. A directory must be one that the servers see."""
        if isinstance(weights, str | Path):
            self._replace("replace_weights_from_directory", Path(weights))
            return
        if self._weights_dir is None:
            raise UserError(
                "rollout.engine.placement=servers needs rollout.engine.weights_dir, a directory that the trainer and "
                "the servers share"
            )
        with weights_file(weights, self._weights_dir) as path:
            self._replace("replace_weights_from_file", path)

    def _replace(self, method: str, path: Path) -> None:
        async def replace(session: ClientSession, url: str) -> None:
            await post(session, f"{url}/collective_rpc", {"method": method, "args": [str(path)]})
            # Keys and values of the old weights must not serve a new prompt.
            await post(session, f"{url}/reset_prefix_cache", {})

        asyncio.run(each_server(list(self._models), replace))

    def sample(self, requests: Sequence[Request], on_finish: OnFinish) -> None:
        """Sample every request; see ``Engine``. A server takes the next request when one of its own has ended."""
        waiting = deque(requests)

        async def serve(session: ClientSession, url: str) -> None:
            async def take() -> None:
                while waiting:
                    request = waiting.popleft()
                    answer = await post(session, f"{url}/v1/completions", self._body(self._models[url], request))
                    on_finish(request.key, sampled_of(answer["choices"][0]))

            await all_or_none([take() for _ in range(self._max_num_seqs)])

        asyncio.run(unless_asked_to_stop(each_server(list(self._models), serve)))

    def _body(self, model: str, request: Request) -> dict[str, Any]:
        return {
            "model": model,
            "prompt": list(request.prompt_ids),
            "seed": request.seed,
            "max_tokens": request.max_new_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "stop_token_ids": self._stop_ids,
            "logprobs": 0,  # of the sampled token only
            "return_token_ids": True,
        }

    def close(self) -> None:
        """There is nothing to close: the servers do not belong to this process."""


def sampled_of(choice: dict[str, Any]) -> Sampled:
    """Read one choice of a completion's answer."""
    return Sampled(
        response_ids=tuple(choice["token_ids"]),
        logp=tuple(choice["logprobs"]["token_logprobs"]),
        finished=choice["finish_reason"] == "stop",
    )


async def each_server(urls: Sequence[str], call: Any) -> list[Any]:
    """Run ``call(session, url)`` for all servers at once and return the results in order."""
    from aiohttp import ClientSession, ClientTimeout, TCPConnector

    # Connections are not kept alive: vLLM closes an idle one after 5 s, and a POST to a closed one is not tried again.
    connector = TCPConnector(limit=0, force_close=True)
    timeout = ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
    async with ClientSession(connector=connector, timeout=timeout) as session:
        return await all_or_none([call(session, url) for url in urls])


async def all_or_none(calls: Sequence[Any]) -> list[Any]:
    """Await all calls; when one raises, cancel the others so that no server keeps generating, and re-raise."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def get_model(session: ClientSession, url: str) -> dict[str, Any]:
    """The model that a server serves: its ``id`` and ``max_model_len``."""
    from aiohttp import ClientConnectionError

    try:
        async with session.get(f"{url}/v1/models") as answer:
            return (await answer.json())["data"][0]
    except ClientConnectionError as error:
        raise UserError(f"no server answers at {url} ({error}): start it, or fix rollout.engine.urls") from error


async def post(session: ClientSession, url: str, body: dict[str, Any]) -> Any:
    """POST JSON and return the answer's JSON, or None for an empty answer.

    Raises:
        UserError: if the server was started without this route.
        RuntimeError: for any other refusal, with the server's own words.
    """
    async with session.post(url, json=body) as answer:
        text = await answer.text()
        if answer.status == 404:
            raise UserError(f"{url} does not exist there: start that server with VLLM_SERVER_DEV_MODE=1")
        if answer.status != 200:
            raise RuntimeError(f"{url} answered {answer.status}: {text[:1000]}")
        return await answer.json(content_type=None) if text else None
