"""``python -m benchmarks.one_gpu``: what one GPU shows of the trainer and the hand-off, in ten minutes at most.

    python -m benchmarks.one_gpu out=FILE [only=NAME] [limit_s=590]
    PYTHONPATH=CARRIED:src python -m benchmarks.one_gpu out=FILE

Needs torch and transformers. CARRIED is a directory with the packages megatron, omegaconf and antlr4 (13 MB), where
they are not installed; aiohttp, vLLM and Transformer Engine are not used. Every check runs in a process of its own,
with a limit of its own, and adds one JSON line to FILE: its name, seconds, and what it found, or why it failed. So a
machine that is taken away costs the rest only. On a CPU the same checks run with small sizes, and those of a GPU say
so.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

ORDER = {  # the most valuable first, after the import that all need; seconds of each
    "imports": 60,
    "ipc": 60,
    "nccl": 90,
    "large": 150,
    "packings": 60,
    "forms": 90,
    "checkpoints": 90,
    "projection": 45,
    "hand_off": 45,
    "kills": 300,  # seven processes, each of which imports everything
}


def run_check(name: str, limit_s: float) -> dict:
    """The line of one check: what its process printed last, or why it printed nothing."""
    start = time.monotonic()
    command = [sys.executable, "-m", "benchmarks.one_gpu", f"only={name}"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        out, err = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        found = {"failed": f"no answer within {limit_s:.0f} s"}
    else:
        lines = out.strip().splitlines()
        found = json.loads(lines[-1]) if process.returncode == 0 and lines else {"failed": err.strip()[-1500:]}
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # whatever a check left behind
        process.wait()
    return {"check": name, "seconds": round(time.monotonic() - start, 1), **found}


def main() -> None:
    words = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
    if not words or words.keys() - {"out", "only", "limit_s"} or len(words) != len(sys.argv) - 1:
        sys.exit(__doc__)
    if "out" not in words:
        from benchmarks.one_gpu.checks import CHECKS

        print(json.dumps(CHECKS[words["only"]]()))
        return
    end = time.monotonic() + float(words.get("limit_s", 590))
    with Path(words["out"]).open("a") as file:
        for name in [words["only"]] if "only" in words else ORDER:
            left_s = end - time.monotonic()
            line = (
                run_check(name, min(ORDER[name], left_s)) if left_s > 5 else {"check": name, "failed": "no time left"}
            )
            print(json.dumps(line), flush=True)
            file.write(json.dumps(line) + "\n")
            file.flush()


if __name__ == "__main__":
    main()
