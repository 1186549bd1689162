"""A server that is no run-api is one sentence: what it sends is bounded, and it sends nobody elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from ablate.atropos import api
from ablate.errors import UserError


@contextmanager
def answering(answer) -> Iterator[api.Api]:
    """A server whose answer to every request is what ``answer`` does with the handler."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with suppress(OSError):  # the client has gone
                answer(self)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield api.Api(f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()


def begin(handler: BaseHTTPRequestHandler, status: int = 200, **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()


def flood(handler):
    begin(handler)
    while True:
        handler.wfile.write(b" " * 2**16)


def drips(handler):
    begin(handler)
    while True:
        handler.wfile.write(b" ")
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (flood, "its answer is larger than 1048576 bytes"),
        (drips, "its answer takes more than 0.5 s"),
        (lambda handler: begin(handler, 307, Location="http://127.0.0.1:1/status"), "GET .*/status answers 307"),
        (lambda handler: begin(handler, 500), "answers 500"),
    ],
    ids=["too much", "for ever", "a redirect", "an error"],
)
def test_an_answer_is_bounded_and_sends_nobody_elsewhere(answer, sentence, monkeypatch):
    monkeypatch.setattr(api, "MAX_BYTES", 2**20)
    monkeypatch.setattr(api, "ANSWER_S", 0.5)
    with answering(answer) as server, pytest.raises(UserError, match=sentence):
        server.call("GET", "/status")
