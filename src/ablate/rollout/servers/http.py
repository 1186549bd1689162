"""HTTP to vLLM's servers: one call to one server, the same call to many, and whether server or request is at fault."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import DecodeError

from ablate.rollout.answer import WrongAnswer
from ablate.rollout.servers.dispatch import ServerFailed
from ablate.rollout.servers.token import VARIABLE, server_token

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

Result = TypeVar("Result")
MIB = 1024**2
MAX_REASON_BYTES = 1000  # of what a server says of its error
MAX_BYTES_ON_LOOP = 65_536  # a longer answer takes milliseconds to read
BUSY = (408, 429)

CONNECT_TIMEOUT_S = 10.0  # a response may take minutes, a connection may not


@asynccontextmanager
async def http_session() -> AsyncIterator[ClientSession]:
    """Connections that carry the job's token and wait for an answer as long as the caller does."""
    from aiohttp import ClientSession, ClientTimeout, TCPConnector

    # Connections are not kept alive: vLLM closes an idle one after 5 s, and a POST to a closed one is not tried again.
    connector = TCPConnector(limit=0, force_close=True)
    timeout = ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
    headers = {"Authorization": f"Bearer {server_token()}", "Accept-Encoding": "identity"}
    async with ClientSession(connector=connector, timeout=timeout, headers=headers, auto_decompress=False) as session:
        yield session


def ignore(content: bytes) -> None:
    """An answer that says nothing but that it is one."""


async def call(
    session: ClientSession,
    url: str,
    body: dict[str, Any] | None = None,
    *,
    timeout_s: float | None = None,
    read: Callable[[bytes], Result] = ignore,
    max_bytes: int = MIB,
) -> Result:
    """POST JSON, or GET without a body, and return what ``read`` makes of the answer.

    Args:
        read: raises ``msgspec.DecodeError`` or ``WrongAnswer`` for an answer that the server may not give. It runs in a
            thread where the answer is long, so that the servers beside this one are not kept waiting.
        max_bytes: a longer answer is not read to its end.

    Raises:
        ServerFailed: if the server is not there, does not answer in time, or gives another answer than it should.
    """
    from aiohttp import ClientConnectionError, ClientError

    method = "GET" if body is None else "POST"
    try:
        async with (
            asyncio.timeout(timeout_s),
            session.request(method, url, json=body, allow_redirects=False) as answer,
        ):
            content = await bounded(answer, max_bytes if answer.status == 200 else MAX_REASON_BYTES)
            if answer.status != 200:
                raise refusal(url, answer.status, content[:MAX_REASON_BYTES])
            if len(content) > max_bytes:
                raise ServerFailed(f"{url} sends more than {max_bytes} bytes", is_refusal=True)
            if "content-encoding" in answer.headers:  # it was not requested, and a small one may hold gigabytes
                raise ServerFailed(f"{url} sends a compressed answer", is_refusal=True)
            return await asyncio.to_thread(read, content) if len(content) > MAX_BYTES_ON_LOOP else read(content)
    except TimeoutError as error:
        raise ServerFailed(f"{url} has not answered for {timeout_s:g} s") from error
    except DecodeError as error:
        raise ServerFailed(f"{url} sent an answer of another form: {error}", is_refusal=True) from error
    except WrongAnswer as error:
        raise ServerFailed(f"{url} sent {error}", is_refusal=True) from error
    except (ClientError, OSError, ValueError) as error:
        is_gone = isinstance(error, ClientConnectionError)
        raise ServerFailed(f"{url}: {error}", is_gone=is_gone) from error


async def bounded(answer: ClientResponse, max_bytes: int) -> bytes:
    """An answer's body, or more than ``max_bytes`` of its beginning."""
    content = bytearray()
    async for part in answer.content.iter_any():
        content += part
        if len(content) > max_bytes:
            break
    return bytes(content)


def refusal(url: str, status: int, content: bytes) -> ServerFailed:
    """What a status other than 200 says. A server refuses a request with 4xx, unless it is only busy."""
    if status == 401:
        sentence = f"{url} refuses this job's token: start that server with the same {VARIABLE}"
    elif status == 404:
        sentence = f"{url} does not exist there: start that server with VLLM_SERVER_DEV_MODE=1"
    else:
        reason = " ".join(content.decode(errors="replace").split())
        sentence = f"{url} answered {status}" + (f": {reason}" if reason else "")
    return ServerFailed(sentence, answered=True, is_refusal=status < 500 and status not in BUSY)


async def while_well(work: Awaitable[Result], session: ClientSession, url: str, silence_s: float) -> Result:
    """Await an answer of a server whose engine is busy meanwhile, and which still has to answer /health.

    Raises:
        ServerFailed: as ``work`` does, or as soon as the server has not answered for ``silence_s``.
    """

    async def watch() -> None:
        while True:
            await asyncio.sleep(silence_s / 4)
            await call(session, f"{url}/health", timeout_s=silence_s)

    tasks = [asyncio.ensure_future(work), asyncio.ensure_future(watch())]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return (tasks[0] if tasks[0] in done else tasks[1]).result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def on_each(urls: Iterable[str], ask: Callable[[str], Awaitable[Any]]) -> dict[str, Any]:
    """Ask all servers at once: by url, the answer or the ``ServerFailed`` that came in its place."""
    urls = list(urls)
    answers = await asyncio.gather(*[ask(url) for url in urls], return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, ServerFailed):
            raise answer
    return dict(zip(urls, answers, strict=True))
