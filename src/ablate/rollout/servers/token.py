"""The token that every server of a job demands, because vLLM's development routes replace weights and run code."""

from __future__ import annotations

import hmac
import os
from collections.abc import Awaitable, Callable
from typing import Any

from ablate.errors import UserError

VARIABLE = "ABLATE_SERVER_TOKEN"
REFUSAL = b'{"error": "this server needs the token of its job"}'


def server_token() -> str:
    """The token from the environment: one per job, the same for the servers and their client.

    Raises:
        UserError: if the variable is not set.
    """
    token = os.environ.get(VARIABLE, "")
    if not token:
        raise UserError(
            f"servers and their client share a secret token, and {VARIABLE} is not set: set it to the same random "
            "text for all of them (slurm/multinode.sbatch does)"
        )
    return token


class RequireToken:
    """ASGI middleware (``--middleware``): a request without ``Authorization: Bearer TOKEN`` is answered 401."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app
        self._expected = f"Bearer {server_token()}".encode()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan" or self._is_allowed(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(REFUSAL)).encode())]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": REFUSAL})

    def _is_allowed(self, scope: dict[str, Any]) -> bool:
        given = dict(scope["headers"]).get(b"authorization", b"")
        return hmac.compare_digest(given, self._expected)  # in constant time
