"""How large a run's page may be: a synthetic run of many steps, rollouts and tokens, written and opened in Chromium.

    python -m benchmarks.run_pages steps=600 rollouts=512 tokens=200
    python -m benchmarks.run_pages steps=1 rollouts=512 tokens=20000

The first step is written, and the others are links to it, because only their number matters. Prints the seconds and the
memory that writing took, the size of the page and of its largest side file, and what the browser held.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

from omegaconf import OmegaConf

from ablate.cli import compose
from ablate.records import RunDirectory
from ablate_analysis.load import load_experiment
from ablate_analysis.pages.run_page import write_run_page

WORDS = ("the", "sum", "of", "all", "primes", "below", "n", "is", "kept", "in", "a", "sieve", "and", "printed", "for")
CHARACTERS_PER_TOKEN = 3.3


def write_run(path: Path, steps: int, rollouts: int, tokens: int) -> None:
    run = RunDirectory(path)
    run.claim(OmegaConf.to_yaml(compose(["experiment=tiny", "objective=grpo", "seed=0"]), resolve=True), [])
    run.begin_attempt({"commit": "0" * 40, "packages": {}, "host": "synthetic"}, "")
    run.end_attempt("done")
    for step in range(1, steps + 1):
        run.steps.append_metrics(step, {"rollout/pass_rate": step / steps, "policy/entropy": 1 / step})
    run.steps.write_rollouts(1, [rollout(index, tokens) for index in range(rollouts)])
    for step in range(2, steps + 1):
        os.link(run.steps.rollouts_file(1), run.steps.rollouts_file(step))


def rollout(index: int, tokens: int) -> dict:
    rng = random.Random(index)
    text = " ".join(rng.choices(WORDS, k=int(tokens * CHARACTERS_PER_TOKEN / 4.4)))
    values = [-0.5] * tokens
    return {
        "step": 1, "problem_id": f"problem-{index // 8}", "difficulty": "hard", "statement": text[:2000],
        "prompt": text[:2100], "sample": index % 8, "seed": index, "prompt_ids": [1] * 500,
        "response_ids": [7] * tokens,
        "rollout_logp": values, "old_logp": values, "text": f"{text}\n```python\nprint({index})\n```", "finished": True,
        "reward": 1.0 if index % 3 else -1.0, "verdict": "accepted" if index % 3 else "wrong_answer", "num_passed": 9,
        "num_tests": 10, "advantage": rng.gauss(0.0, 1.0), "in_loss": True, "update": 0,
    }  # fmt: skip


def browse(page_file: Path, steps: int, rollouts: int) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--enable-precise-memory-info"]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        page = browser.new_page()
        start = time.perf_counter()
        page.goto(page_file.as_uri())
        page.wait_for_selector("body[data-ready]", timeout=120_000)
        page.locator("#rollouts-body tr").first.click()
        page.wait_for_selector("#detail[data-ready]")
        print(f"browser: a rollout is shown after {time.perf_counter() - start:.1f} s, {held(page)}")
        start = time.perf_counter()
        page.select_option("#rollouts-step", "all")
        page.wait_for_selector(f"#rollouts-count:has-text('of {steps * rollouts:,}')", timeout=600_000)
        seconds = time.perf_counter() - start
        print(f"browser: all {steps * rollouts:,} rollouts in one table after {seconds:.1f} s, {held(page)}")
        browser.close()


def held(page) -> str:
    heap = page.evaluate("performance.memory.usedJSHeapSize") / 2**20
    return f"{page.locator('#rollouts-body tr').count()} rows in the page, {heap:.0f} MiB of heap"


def mib(size: int) -> str:
    return f"{size / 2**20:.2f} MiB"


def main() -> None:
    words = dict(word.split("=") for word in sys.argv[1:])
    steps, rollouts, tokens = (int(words[name]) for name in ("steps", "rollouts", "tokens"))
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "tiny"
        write_run(root / "grpo" / "seed0", steps, rollouts, tokens)
        experiment = load_experiment(root)
        start, before = time.perf_counter(), time.process_time()
        page = write_run_page(experiment.runs[0], experiment, Path(scratch) / "report", limit=None)
        seconds, cpu_s = time.perf_counter() - start, time.process_time() - before
        files = [file.stat().st_size for file in page.parent.rglob("*.js")]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        sizes = (
            f"page {mib(page.stat().st_size)}, {len(files)} side files of {mib(sum(files))}, largest {mib(max(files))}"
        )
        took = f"{seconds:.1f} s ({cpu_s:.1f} s of CPU), peak {peak:.0f} MiB"
        print(f"{steps} steps x {rollouts} rollouts x {tokens} tokens: {took}; {sizes}", flush=True)
        browse(page, steps, rollouts)


if __name__ == "__main__":
    main()
