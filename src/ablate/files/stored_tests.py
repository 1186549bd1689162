"""The tests of one problem, compressed in a file that only the verifier's worker reads.

The tests of a training set are gigabytes and those of one problem can be 189 MB. So a problem of a store carries a
``StoredTests``, which names its bytes. It travels through queues and to the sandbox's supervisor, which reads and
decodes it when it indexes it. The supervisor imports nothing that has to be installed, and neither does this module.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ablate.types import TestCase

COMPRESSION = 6  # zlib's own default


@dataclass(frozen=True)
class PackedTests:
    """Compressed tests and what is known of them.

    Example: ``pack_tests([TestCase("1 2\\n", "3\\n")])`` has num_tests=1 and num_bytes=18, the length of its JSON.
    """

    blob: bytes
    num_tests: int
    num_bytes: int  # of the JSON, before compression
    digest: str  # SHA-256 of the JSON


def pack_tests(tests: Sequence[TestCase]) -> PackedTests:
    """Compress tests: zlib of a JSON list of [input, output]."""
    pairs = [[test.input, test.output] for test in tests]
    text = json.dumps(pairs, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    return PackedTests(zlib.compress(text, COMPRESSION), len(pairs), len(text), hashlib.sha256(text).hexdigest())


def unpack_tests(blob: bytes, digest: str) -> tuple[TestCase, ...]:
    """Decompress what ``pack_tests`` compressed.

    Raises:
        OSError: when the bytes are not those of ``digest``, because the file has changed or is damaged.
    """
    try:
        text = zlib.decompress(blob)
    except zlib.error as error:
        raise OSError(f"stored tests are damaged: {error}") from error
    if hashlib.sha256(text).hexdigest() != digest:
        raise OSError("stored tests are not the ones that the problem store lists")
    return tuple(TestCase(*pair) for pair in json.loads(text.decode("utf-8", "surrogatepass")))


@dataclass(frozen=True)
class StoredTests(Sequence[TestCase]):
    """The tests of one problem as a place in a file; decoded at the first access to a test, never by ``len``.

    Example: ``StoredTests("set/tests.bin", offset=0, size=26, num_tests=1, digest="5a…")[0].input == "1 2\\n"``.
    """

    path: str
    offset: int  # bytes
    size: int  # bytes, compressed
    num_tests: int
    digest: str

    @cached_property
    def decoded(self) -> tuple[TestCase, ...]:
        """The tests.

        Raises:
            OSError: when the file is gone, changed or damaged.
        """
        with Path(self.path).open("rb") as file:
            return unpack_tests(os.pread(file.fileno(), self.size, self.offset), self.digest)

    def __len__(self) -> int:
        return self.num_tests

    def __getitem__(self, index: int) -> TestCase:
        return self.decoded[index]

    def __getstate__(self) -> dict[str, object]:
        """What travels to another process: the place, never the decoded tests."""
        return {name: value for name, value in vars(self).items() if name != "decoded"}
