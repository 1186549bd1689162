"""Stands in for ``ablate.train`` where a test is about SLURM's part: which task runs what, and who is queued again.

Takes the real one's overrides. What it does depends on the objective: grpo ends at once; dapo works until it is asked
to stop, leaves with the requeue code, and ends at once when started again; gspo works until the task is cancelled;
gspo_plus fails. Notes every event in paths.outputs/<objective>.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

REQUEUE_EXIT_CODE = 75
DEADLINE_S = 600


def main() -> int:
    values = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
    objective = values["objective"]
    events = Path(values["paths.outputs"]) / objective
    events.parent.mkdir(parents=True, exist_ok=True)

    def note(event: str) -> None:
        with events.open("a") as file:
            file.write(event + "\n")

    is_restarted = events.exists()
    asked: list[str] = []
    for number in (signal.SIGUSR1, signal.SIGTERM):
        signal.signal(number, lambda number, _: asked.append(signal.Signals(number).name))
    note("started")
    if objective == "gspo_plus":
        print("no such thing as a free lunch", file=sys.stderr)
        return 1
    if objective == "grpo" or is_restarted:
        note("done")
        return 0
    deadline = time.monotonic() + DEADLINE_S
    while not asked and time.monotonic() < deadline:
        time.sleep(0.05)
    note(asked[0] if asked else "waited in vain")
    return REQUEUE_EXIT_CODE


if __name__ == "__main__":
    sys.exit(main())
