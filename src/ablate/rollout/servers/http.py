"""HTTP to vLLM's servers: one call to one server, the same call to many, and whether server or request is at fault."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ablate.errors import UserError
from ablate.rollout.servers.dispatch import ServerFailed
from ablate.rollout.servers.token import VARIABLE, server_token

if TYPE_CHECKING:
    from aiohttp import ClientSession

CONNECT_TIMEOUT_S = 10.0  # a response may take minutes, a connection may not
OPEN_FILES = 65_536  # a connection per request in flight; the usual soft limit of 1,024 is 16 servers' worth


@asynccontextmanager
async def http_session() -> AsyncIterator[ClientSession]:
    """Connections that carry the job's token and wait for an answer as long as the caller does."""
    from aiohttp import ClientSession, ClientTimeout, TCPConnector

    # Connections are not kept alive: vLLM closes an idle one after 5 s, and a POST to a closed one is not tried again.
    connector = TCPConnector(limit=0, force_close=True)
    timeout = ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
    headers = {"Authorization": f"Bearer {server_token()}"}
    async with ClientSession(connector=connector, timeout=timeout, headers=headers) as session:
        yield session


async def call(
    session: ClientSession, url: str, body: dict[str, Any] | None = None, *, timeout_s: float | None = None
) -> Any:
    """POST JSON, or GET without a body, and return the answer's JSON; None for an empty answer.

    Raises:
        ServerFailed: if the server is not there, does not answer in time or answers with an error of its own (5xx).
        UserError: if the server was started with another token, or without this route.
        RuntimeError: for any other refusal, with the server's own words.
    """
    from aiohttp import ClientError

    try:
        async with asyncio.timeout(timeout_s):
            async with session.request("GET" if body is None else "POST", url, json=body) as answer:
                status, text = answer.status, await answer.text()
                result = await answer.json(content_type=None) if text and status == 200 else None
    except TimeoutError as error:
        raise ServerFailed(f"{url} has not answered for {timeout_s:g} s") from error
    except (ClientError, OSError, ValueError) as error:
        raise ServerFailed(f"{url}: {error}") from error
    if status == 401:
        raise UserError(f"{url} refuses this job's token: start that server with the same {VARIABLE}")
    if status == 404:
        raise UserError(f"{url} does not exist there: start that server with VLLM_SERVER_DEV_MODE=1")
    if status >= 500:
        raise ServerFailed(f"{url} answered {status}: {text[:1000]}", answered=True)
    if status != 200:
        raise RuntimeError(f"{url} answered {status}: {text[:1000]}")
    return result


async def on_each(urls: Iterable[str], ask: Callable[[str], Awaitable[Any]]) -> dict[str, Any]:
    """Ask all servers at once: by url, the answer or the ``ServerFailed`` that came in its place."""
    urls = list(urls)
    answers = await asyncio.gather(*[ask(url) for url in urls], return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, ServerFailed):
            raise answer
    return dict(zip(urls, answers, strict=True))


def allow_open_files() -> None:
    """Raise this process's soft limit of open files, as far as the hard limit allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
