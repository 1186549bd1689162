"""Whole Python objects over a socket, between the verifier's process and a supervisor. Both ends are trusted."""

from __future__ import annotations

import pickle
import socket
import struct


def send_message(line: socket.socket, value: object) -> None:
    payload = pickle.dumps(value)
    line.sendall(struct.pack("<Q", len(payload)) + payload)


def receive_message(line: socket.socket) -> object | None:
    """Return the next message, or None at the end of the line. A program's bytes are never unpickled."""
    header = receive_exactly(line, 8)
    payload = header and receive_exactly(line, struct.unpack("<Q", header)[0])
    return pickle.loads(payload) if payload else None


def receive_exactly(line: socket.socket, num_bytes: int) -> bytes | None:
    parts, missing = [], num_bytes
    while missing:
        part = line.recv(min(missing, 1 << 20))
        if not part:
            return None
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)
