"""Tests of a training problem: cleaned, capped, without duplicates. Those of an evaluation problem stay as they are."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from ablate.types import TestCase

SHORT_INPUT = 2000  # characters; an example of a statement is shorter
MAX_PAIR_KEYS = 64
TELLING_INPUT = 6  # characters; a shorter input, such as "1" or "2 3", is in many problems
SKETCH_TESTS = 64  # whose inputs and outputs are compared with those of another row
NUM_PROBES = 8  # telling tests by which rows with the same tests find each other


class Unusable(Exception):
    """The tests of a row break a rule; ``args`` are the reason and the detail."""


@dataclass(frozen=True)
class Caps:
    """Limits for the tests of a training problem; see conf/curate.yaml."""

    max_test_bytes: int
    max_tests: int | None
    min_tests: int


def clean_tests(tests: Sequence[TestCase], is_stdin: bool, caps: Caps) -> tuple[tuple[TestCase, ...], int]:
    """Return the tests to train on, in their order, and how many were dropped because they are too large.

    Raises:
        Unusable: when two tests with one input expect different outputs, or fewer than ``min_tests`` are left.
    """
    if is_stdin:
        tests = [TestCase(ended(test.input), lines(test.output)) for test in tests]
    small = [test for test in tests if len(test.input) + len(test.output) <= caps.max_test_bytes]
    output_of: dict[str, str] = {}
    for test in small:
        known = output_of.setdefault(test.input, test.output)
        if known.split() != test.output.split():
            raise Unusable("contradictory_tests", f"two outputs for the input {test.input[:60]!r}")
    kept = [TestCase(given, expected) for given, expected in output_of.items()]
    if caps.max_tests is not None:
        longest = sorted(kept, key=lambda test: (-len(test.input), key_of(test)))[: caps.max_tests]
        chosen = set(longest)
        kept = [test for test in kept if test in chosen]
    if len(kept) < caps.min_tests:
        dropped = f", {len(tests) - len(small)} too large" if len(small) < len(tests) else ""
        raise Unusable("too_few_tests", f"{len(kept)} different tests{dropped}; {caps.min_tests} are needed")
    return tuple(kept), len(tests) - len(small)


def ended(text: str) -> str:
    """Text with Unix line ends whose last line ends; blank lines at the end stay, because a program may read them."""
    text = text.replace("\r\n", "\n")
    return text if text.endswith("\n") else text + "\n"


def lines(text: str) -> str:
    """Text with Unix line ends, ending with one newline."""
    return text.replace("\r\n", "\n").rstrip("\n") + "\n"


def key_of(test: TestCase) -> str:
    """A short hash of a test that does not depend on its white space."""
    return folded_hash(test.input, test.output)


def folded_hash(*texts: str) -> str:
    words = "\0".join(" ".join(text.split()) for text in texts)
    return hashlib.sha256(words.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def sketch_of(tests: Sequence[TestCase]) -> dict[str, str]:
    """Hashes of inputs and of their outputs, for the tests whose inputs have the smallest hashes.

    Two rows with the same tests have the same sketch, and so have, for most of it, two rows that share most tests.
    """
    outputs = {folded_hash(test.input): folded_hash(test.output.lower()) for test in tests}
    return {key: outputs[key] for key in sorted(outputs)[:SKETCH_TESTS]}


def probes_of(tests: Sequence[TestCase]) -> tuple[str, ...]:
    keys = {key_of(test) for test in tests if len(test.input.strip()) >= TELLING_INPUT}
    return tuple(sorted(keys)[:NUM_PROBES])


def keys_of_all(tests: Sequence[TestCase]) -> str:
    """A hash of all tests that does not depend on their order."""
    return hashlib.sha256("\n".join(sorted({key_of(test) for test in tests})).encode()).hexdigest()


def pair_keys(tests: Sequence[TestCase]) -> tuple[str, ...]:
    """Hashes of the shortest tests that tell a problem apart, in the order of the tests."""
    short = [test for test in tests if TELLING_INPUT <= len(test.input.strip()) <= SHORT_INPUT]
    chosen = set(sorted(short, key=lambda test: (len(test.input), key_of(test)))[:MAX_PAIR_KEYS])
    return tuple(dict.fromkeys(key_of(test) for test in short if test in chosen))
