"""One trainer in a process and an environment of its own: reads a job from a file, writes the answers next to it."""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from pathlib import Path
from typing import Any


def main(name: str, job_path: str, checkout: str | None = None) -> None:
    job = json.loads(Path(job_path).read_text())
    if checkout:
        sys.path[:0] = [checkout, str(Path(checkout, "src"))]
    from benchmarks.conformance.padded import Padded

    peer = importlib.import_module(f"benchmarks.conformance.adapters.{name}").open_peer()
    answers = [answer(peer, Padded, row, job["batches"][row["batch"]]) for row in job["tasks"]]
    Path(job_path).with_suffix(".answers.json").write_text(json.dumps({"version": peer.version, "answers": answers}))


def answer(peer: Any, padded: type, task: dict[str, Any], batch: dict[str, Any]) -> dict[str, Any]:
    """The trainer's advantages or gradients for one task; an exception of its code is an answer too."""
    made = padded(batch, task["advantage"])
    try:
        if task["compare"] == "advantage":
            return {"advantage": peer.advantage(made, task["call"])}
        return {"grad": peer.loss(made, task["split"], task["call"])}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:300], "trace": traceback.format_exc()[-2000:]}


if __name__ == "__main__":
    main(*sys.argv[1:])
