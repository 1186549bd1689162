"""The private tests of LiveCodeBench: base64 of zlib of a pickle of one string. No pickle is executed here."""

from __future__ import annotations

import base64
import binascii
import io
import pickletools
import zlib
from typing import Any

from ablate.sources.literals import parse_json
from ablate.sources.reasons import Reason, Refused

MAX_BYTES = 512 * 2**20  # the largest payload known decodes to less than 200 MB

# What pickle.dumps(text) writes in protocols 0 to 5. None of these opcodes imports, calls or looks anything up.
TEXT = {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
FRAMING = {"PROTO", "FRAME", "MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT", "STOP"}


def decode_tests(text: str) -> Any:
    """Return the JSON value of a column of tests, which is JSON or a packed payload.

    Raises:
        Refused: bad_json, too_large or hostile_pickle. An empty list is never the answer to a broken payload, because
            a program passes all of no tests.
    """
    if text.lstrip().startswith("["):
        return parse_json(text)
    return parse_json(pickled_text(inflate(text)))


def inflate(text: str) -> bytes:
    """Decode base64 and decompress, at most ``MAX_BYTES``."""
    try:
        packed = base64.b64decode(text, validate=True)
        stream = zlib.decompressobj()
        data = stream.decompress(packed, MAX_BYTES)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise Refused(Reason.bad_json, f"neither JSON nor a packed payload: {error}") from error
    if stream.unconsumed_tail:
        raise Refused(Reason.too_large, f"a payload of more than {MAX_BYTES} bytes")
    if stream.unused_data or not stream.eof:
        raise Refused(Reason.bad_json, "the packed payload is cut off, or something follows it")
    return data


def pickled_text(data: bytes) -> str:
    """Return the one string in a pickle by reading its opcodes, without running them.

    Raises:
        Refused: hostile_pickle, for a pickle of anything else.
    """
    file = io.BytesIO(data)
    found: list[str] = []
    try:
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name in TEXT and not found:
                found.append(argument)
            elif opcode.name not in FRAMING:
                raise Refused(Reason.hostile_pickle, f"the pickle has the opcode {opcode.name}")
    except (ValueError, UnicodeError) as error:
        raise Refused(Reason.bad_json, f"the payload is no pickle: {str(error)[:200]}") from error
    if not found or file.tell() != len(data):
        raise Refused(Reason.hostile_pickle, "the pickle holds more or less than one string")
    return found[0]
