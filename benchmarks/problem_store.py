"""Memory of the leader with a large training set: ``python benchmarks/problem_store.py [--problems N]``.

Writes a problem store of synthetic problems, loads it in a fresh process as a run does, and draws prompts from it. The
sizes follow DeepCoder's train split: statements of about 2 kB, tests of about 0.3 MB a problem when decoded. Goal: the
leader stays below 1 GB, torch and the tokenizer included.
"""

from __future__ import annotations

import argparse
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ablate.data.store import PROBLEMS_FILE, TESTS_FILE, write_store
from ablate.files.stored_tests import PackedTests, pack_tests
from ablate.types import Problem, TestCase

NUM_WORDS, NUM_TESTS, TEST_BYTES, DRAWN = 350, 30, 10_000, 512
VOCABULARY = [f"word{number}" for number in range(5000)]


def synthetic_problems(num_problems: int, seed: int = 0) -> Iterator[tuple[Problem, PackedTests]]:
    rng = random.Random(seed)
    digits = [rng.randbytes(TEST_BYTES * 9 // 20).hex() for _ in range(NUM_TESTS)]
    packed = pack_tests([TestCase(f"{each}\n", f"{each[:1000]}\n") for each in digits])  # all problems share them
    for number in range(num_problems):
        statement = " ".join(rng.choices(VOCABULARY, k=NUM_WORDS))
        yield Problem(f"synthetic/{number}", statement, (), "unknown"), packed


def load_and_draw(directory: str) -> None:
    """What a leader does with problems: load them, drop those with long prompts, draw some; print its memory."""
    import torch  # noqa: F401  the leader has it anyway

    from ablate.data.problems import load_problems
    from ablate.data.prompts import make_prompts, within
    from ablate.data.templates import Templates
    from ablate.data.tokenizer import character_tokenizer
    from ablate.sampling import Tasks

    before = peak_mib()
    tokenizer = character_tokenizer()

    def prompts_of(problems):
        return make_prompts(problems, tokenizer, Templates("{statement}"))

    started = time.monotonic()
    problems = load_problems(directory)
    loaded_s = time.monotonic() - started
    tasks = Tasks(within(problems[:DRAWN], prompts_of, 10**6), prompts_of)
    for index in range(len(tasks)):
        tasks[index]
    in_tests = sum(len(problem.tests) for problem in problems)
    print(f"| {len(problems):,} | {in_tests:,} | {loaded_s:.1f} | {before:.0f} | {peak_mib():.0f} |")


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=24_287, help="DeepCoder's train split has 24,287")
    parser.add_argument("--load", help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.load:
        load_and_draw(words.load)
        return
    with tempfile.TemporaryDirectory() as directory:
        started = time.monotonic()
        write_store(Path(directory), synthetic_problems(words.problems))
        sizes = {name: (Path(directory) / name).stat().st_size / 2**20 for name in (PROBLEMS_FILE, TESTS_FILE)}
        print(
            f"written in {time.monotonic() - started:.0f} s: {', '.join(f'{k} {v:.0f} MiB' for k, v in sizes.items())}"
        )
        print("| problems | tests | load s | MiB before | leader's peak MiB |\n|---|---|---|---|---|", flush=True)
        subprocess.run([sys.executable, __file__, "--load", directory], check=True)


if __name__ == "__main__":
    main()
