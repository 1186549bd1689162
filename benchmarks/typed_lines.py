"""Type every line of README.md and docs/experiments.md that trains, from top to bottom, as a reader would.

    python -m benchmarks.typed_lines            # all of them, about ten minutes on two idle cores
    python -m benchmarks.typed_lines start_from # those that hold this word

In a directory of its own, with two steps, two problems a step and one seed of a sweep. Each line
must end with exit code 0 and leave a finished run. ``tests/test_readme.py`` checks the same lines without training.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ablate.records import RunDirectory

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^ *```(?:sh|bash|console)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
YAML = re.compile(r"`(my_experiments/[^`]+)`:\n\n```yaml\n(.*?)```", re.DOTALL)
COMMAND = re.compile(r"(?:\.venv/bin/)?python -m (ablate\.(?:train|export)) (.*)")
SMALL = (
    *("debug=short", "eval.samples_per_problem=1", "eval.pass_at=[1]", "eval.at_start=false"),
    *("logging.wandb=disabled", "logging.display=plain"),
)


def lines() -> list[tuple[str, list[str]]]:
    """(module, words) of every line that trains, or exports what another line starts from."""
    found = []
    for page in ("README.md", "docs/experiments.md"):
        for block in BLOCK.findall((ROOT / page).read_text().replace("\\\n", " ")):
            found += [COMMAND.match(line.partition("  #")[0].strip()) for line in block.splitlines()]
    return [(match[1], shlex.split(match[2])) for match in found if match]


def small(module: str, words: list[str]) -> list[str]:
    if module == "ablate.export":
        return words
    kept = [word for word in words if not word.startswith("context.steps=") and word != "debug=short"]
    kept = [f"{word.partition(',')[0]}" if word.startswith("seed=") else word for word in kept]
    is_sweep = "-m" in kept and not any(word.startswith("seed=") for word in kept)
    longer = ["context.stages=[{length:128,steps:4}]"] if any(word.startswith("start_from=") for word in kept) else []
    return [*kept, *SMALL, *(["seed=0"] if is_sweep else []), *longer]


def main() -> None:
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        for name, text in YAML.findall((ROOT / "docs/experiments.md").read_text()):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(text)
        for module, words in lines():
            if not all(part in " ".join(words) for part in sys.argv[1:]):
                continue
            command = [sys.executable, "-m", module, *small(module, words)]
            began = time.perf_counter()
            done = subprocess.run(command, cwd=place, capture_output=True, text=True, env=os.environ, check=False)
            runs = [RunDirectory(file.parent) for file in place.glob("outputs/*/*/seed*/config.yaml")]
            states = sorted({run.status for run in runs})
            is_well = done.returncode == 0 and states == ["done"]
            failed += not is_well
            seconds = time.perf_counter() - began
            print(f"{'ok' if is_well else 'FAILED':6}  {seconds:5.0f} s  {module} {' '.join(words)}", flush=True)
            if not is_well:
                print(f"        runs are {states}\n{done.stdout[-1500:]}{done.stderr[-1500:]}", flush=True)
    raise SystemExit(failed > 0)


if __name__ == "__main__":
    main()
