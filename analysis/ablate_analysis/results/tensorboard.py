"""Scalars of a TensorBoard event file, without TensorBoard: records of a length, two checksums and a protobuf message.

Event: 2 step, 5 summary. Summary: repeated 1 value. Value: 1 tag, 2 simple_value (torch), 8 tensor (TensorFlow 2).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
FLOAT, DOUBLE = 1, 2  # TensorProto's dtype


def scalars(path: Path) -> Iterator[tuple[int, str, float]]:
    """Yield (step, tag, value); a record that was cut off at the end of the file is left out."""
    data = path.read_bytes()
    at = 0
    while at + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        record = data[at + 12 : at + 12 + length]  # 8 bytes of length and 4 of its checksum come first
        if len(record) < length:
            return
        yield from scalars_of(record)
        at += 12 + length + 4


def scalars_of(event: bytes) -> Iterator[tuple[int, str, float]]:
    step, summaries = 0, []
    for field, value in fields(event):
        if field == 2 and isinstance(value, int):
            step = value
        elif field == 5 and isinstance(value, bytes):
            summaries.append(value)
    for summary in summaries:
        for field, value in fields(summary):
            if field == 1 and isinstance(value, bytes):
                tag, number = value_of(value)
                if number is not None:
                    yield step, tag, number


def value_of(message: bytes) -> tuple[str, float | None]:
    tag, number = "", None
    for field, value in fields(message):
        if field == 1 and isinstance(value, bytes):
            tag = value.decode("utf-8", "replace")
        elif field == 2 and isinstance(value, bytes):
            (number,) = struct.unpack("<f", value)
        elif field == 8 and isinstance(value, bytes):
            number = tensor_value(value)
    return tag, number


def tensor_value(message: bytes) -> float | None:
    """The one number of a tensor, else None. TensorProto: 1 dtype, 4 content, 5 floats, 6 doubles."""
    found = dict(fields(message))
    kind = found.get(1)
    code = {FLOAT: "f", DOUBLE: "d"}.get(kind if isinstance(kind, int) else 0)
    data = found.get(4) or found.get(5 if kind == FLOAT else 6)
    size = struct.calcsize(code) if code else -1
    return struct.unpack(f"<{code}", data)[0] if isinstance(data, bytes) and len(data) == size else None


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield (field number, varint or bytes) of a protobuf message."""
    at = 0
    while at < len(message):
        key, at = varint(message, at)
        kind = key & 7
        if kind == VARINT:
            value, at = varint(message, at)
            yield key >> 3, value
            continue
        if kind == BYTES:
            size, at = varint(message, at)
        elif kind in (FIXED32, FIXED64):
            size = 4 if kind == FIXED32 else 8
        else:
            return
        yield key >> 3, message[at : at + size]
        at += size


def varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
    return value, at
