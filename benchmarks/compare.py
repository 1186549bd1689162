"""Seconds and memory of ``ablate.compare``: ``python -m benchmarks.compare``.

Two trials, each in a process of its own: 6 models x 1,000 problems x 10 samples, and 2 x 100 MB of lm-eval samples.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

MODELS, PROBLEMS, SAMPLES = 6, 1000, 10
LM_EVAL_BYTES = 100_000_000


def write_tables(directory: Path) -> list[str]:
    rng = np.random.default_rng(0)
    rate_P = rng.beta(0.7, 0.7, PROBLEMS)
    words = []
    for model in range(MODELS):
        path = directory / f"model{model}.jsonl"
        with path.open("w") as file:
            for problem in range(PROBLEMS):
                for sample in range(SAMPLES):
                    passed = bool(rng.random() < rate_P[problem])
                    file.write(json.dumps({"problem": f"p{problem}", "sample": sample, "passed": passed}) + "\n")
        words.append(f"model{model}={path}")
    return words


def write_lm_eval(directory: Path) -> list[str]:
    rng = np.random.default_rng(0)
    words = []
    for model in range(2):
        path = directory / f"samples_task{model}_2026-01-01T00-00-00.0.jsonl"
        number = 0
        with path.open("w") as file:
            while file.tell() < LM_EVAL_BYTES:
                row = {
                    "doc_id": number, "doc": {"question": "q" * 900}, "arguments": {"a": "x" * 900}, "filter": "none",
                    "resps": [["r" * 400]], "filtered_resps": ["r"], "metrics": ["acc"], "doc_hash": f"d{number}",
                    "prompt_hash": f"p{number}", "acc": float(rng.random() < 0.5),
                }  # fmt: skip
                file.write(json.dumps(row) + "\n")
                number += 1
        words.append(f"model{model}={path}")
    return words


def trial(name: str, words: list[str]) -> None:
    start = time.perf_counter()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    code = (
        "import resource, sys; from ablate.compare import main; main(sys.argv[1:]); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    memory_mb = int(done.stdout.split()[-1]) / 1024
    print(f"{name}: {time.perf_counter() - start:.1f} s, {cpu_s:.1f} CPU s, {memory_mb:.0f} MiB")


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        trial(f"{MODELS} models x {PROBLEMS} problems x {SAMPLES} samples", write_tables(directory))
        trial("2 x 100 MB of lm-eval samples", write_lm_eval(directory))


if __name__ == "__main__":
    main()
