"""Time and memory of a curation without references: ``python benchmarks/curate.py [--problems N]``.

Writes a synthetic DeepCoder directory and a small LiveCodeBench directory, runs ``ablate.curate`` on them, and prints
how long it took and the largest memory of any of its processes. Every tenth row is a near duplicate. Goal:
24,287 problems within 20 minutes on two cores, in memory that does not grow with the number of problems.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

NUM_WORDS, NUM_TESTS, TEST_BYTES, EVALUATION_ROWS = 350, 30, 10_000, 40
VOCABULARY = ["".join(random.Random(number).choices("abcdefghijklmnop", k=6)) for number in range(5000)]
ROWS_PER_GROUP = 100


def taco_row(number: int, rng: random.Random, earlier: list[str]) -> dict[str, Any]:
    words = rng.choices(VOCABULARY, k=NUM_WORDS)
    if number % 10 == 9:
        words = [*rng.choice(earlier).split()[:-1], "changed"]
    statement = " ".join(words)
    earlier[number % 1000 : number % 1000 + 1] = [statement]
    inputs = [f"{rng.randbytes(TEST_BYTES * 9 // 20).hex()}\n" for _ in range(NUM_TESTS)]
    tests = {"inputs": inputs, "outputs": [f"{number} {given[:1000]}\n" for given in inputs]}
    return {"problem": statement, "solutions": ["print(1)"], "tests": json.dumps(tests)}


def write_deepcoder(directory: Path, num_problems: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng, earlier = random.Random(0), []
    (directory / "taco").mkdir(parents=True)
    schema = pa.schema({"problem": pa.string(), "solutions": pa.list_(pa.string()), "tests": pa.string()})
    with pq.ParquetWriter(directory / "taco" / "train-00000-of-00001.parquet", schema) as writer:
        for start in range(0, num_problems, ROWS_PER_GROUP):
            numbers = range(start, min(start + ROWS_PER_GROUP, num_problems))
            writer.write_table(pa.Table.from_pylist([taco_row(each, rng, earlier) for each in numbers], schema))
    facts = {"revision": "synthetic", "rows": {"taco": num_problems}}
    (directory / "source.json").write_text(json.dumps(facts))


def write_livecodebench(directory: Path) -> None:
    directory.mkdir()
    rng = random.Random(1)
    tests = json.dumps([{"input": f"{each} 1\n", "output": "2\n", "testtype": "stdin"} for each in range(10)])
    rows = [
        {
            "question_title": f"Problem {number} of the benchmark",
            "question_content": " ".join(rng.choices(VOCABULARY, k=NUM_WORDS)),
            "platform": "atcoder",
            "question_id": f"abc{number}",
            "contest_id": "abc",
            "contest_date": "2024-09-01T00:00:00",
            "starter_code": "",
            "difficulty": "easy",
            "public_test_cases": tests,
            "private_test_cases": "[]",
            "metadata": "{}",
        }
        for number in range(EVALUATION_ROWS)
    ]
    (directory / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    window = {"first": "2024-08-01", "last": "2025-05-01", "rows": EVALUATION_ROWS}
    facts = {"revision": "synthetic", "rows": {"v1": EVALUATION_ROWS}, "window": window}
    (directory / "source.json").write_text(json.dumps(facts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=24_287, help="DeepCoder's train split has 24,287")
    num_problems = parser.parse_args().problems
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        # A process inherits the peak of the process that starts it, so this one stays small: others write the rows.
        for target, *arguments in (
            (write_deepcoder, directory / "deepcoder", num_problems),
            (write_livecodebench, directory / "livecodebench"),
        ):
            writer = get_context("spawn").Process(target=target, args=arguments)
            writer.start()
            writer.join()
        sources = [f"source.{each}={directory / each}" for each in ("deepcoder", "livecodebench")]
        command = [sys.executable, "-m", "ablate.curate", *sources, "references.run=false", f"out={directory / 'set'}"]
        started = time.monotonic()
        _, status, usage = os.wait4(subprocess.Popen(command).pid, 0)
        elapsed_s = time.monotonic() - started
        if status:
            sys.exit("the curation failed")
        counts = json.loads((directory / "set" / "manifest.json").read_text())["counts"]
    print("| problems | kept | seconds | CPU s | largest process, MiB |\n|---|---|---|---|---|")
    cpu_s = usage.ru_utime + usage.ru_stime
    print(f"| {num_problems:,} | {counts['train']:,} | {elapsed_s:.0f} | {cpu_s:.0f} | {usage.ru_maxrss / 1024:.0f} |")


if __name__ == "__main__":
    main()
