"""The HTTP interface of atroposlib's ``run-api``, as far as an environment and a trainer need it."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPResponse
from typing import Any

from ablate.errors import UserError

ANSWER_S = 60.0  # for the whole answer
MAX_BYTES = 1 << 30  # a batch of 512 rollouts of 32,768 tokens takes half of it
PIECE = 1 << 16


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A server may not send a run's rollouts elsewhere."""

    def redirect_request(self, *_: Any) -> None:
        return None


OPENER = urllib.request.build_opener(NoRedirect)


@dataclass(frozen=True)
class Api:
    """A run-api server. Example: ``Api("http://127.0.0.1:8000").call("GET", "/status")``"""

    url: str

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Return the JSON answer.

        Raises:
            UserError: when no such server answers, or it refuses the call.
        """
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url.rstrip("/") + path, data, headers, method=method)
        try:
            with OPENER.open(request, timeout=ANSWER_S) as answer:
                return json.loads(bounded(answer))
        except urllib.error.HTTPError as error:
            said = error.read(300).decode("utf-8", "replace")
            raise UserError(
                f"{method} {self.url}{path} answers {error.code} {said}: start run-api of atroposlib 0.4.0 there"
            ) from error
        except (OSError, ValueError) as error:
            raise UserError(
                f"no Atropos server answers at {self.url} ({error}): start one with "
                "`run-api --host 127.0.0.1 --port 8000`, or fix rollout.atropos.url"
            ) from error


def bounded(answer: HTTPResponse) -> bytes:
    """The body of an answer.

    Raises:
        OSError: if it is larger than ``MAX_BYTES``, or takes longer than ``ANSWER_S``.
    """
    end, content = time.monotonic() + ANSWER_S, bytearray()
    while piece := answer.read1(PIECE):
        content += piece
        if len(content) > MAX_BYTES:
            raise OSError(f"its answer is larger than {MAX_BYTES} bytes")
        if time.monotonic() > end:
            raise OSError(f"its answer takes more than {ANSWER_S:g} s")
    return bytes(content)
