"""Frames that an exec reads from its standard input, and the lines of JSON that it answers with."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

WRITE_BYTES = 1 << 20  # per message; Modal's client takes 2 MiB on its older route


def send_frames(stdin: Any, frames: Sequence[bytes], is_last: bool = False) -> None:
    """Send frames, each 8 bytes of length and then that many bytes; after the last, end the stream."""
    data = b"".join(len(frame).to_bytes(8, "big") + frame for frame in frames)
    pieces = [data[start : start + WRITE_BYTES] for start in range(0, len(data), WRITE_BYTES)]
    for piece in pieces[:-1]:
        stdin.write(piece)
        stdin.drain()
    stdin.write(pieces[-1])
    if is_last:
        stdin.write_eof()
    stdin.drain()


def json_lines(pieces: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The JSON objects, one per line, of a stream that is cut anywhere.

    Raises:
        ValueError: when the last line has no end, or a line is not a JSON object.
    """
    waiting: list[bytes] = []
    for piece in pieces:
        *ended, rest = piece.split(b"\n")
        for line in ended:
            value = json.loads(b"".join((*waiting, line)))
            if not isinstance(value, dict):
                raise ValueError("a line of an answer is not a JSON object")
            yield value
            waiting.clear()
        if rest:
            waiting.append(rest)
    if waiting:
        raise ValueError("an answer ends within a line")
