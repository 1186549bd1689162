"""``python stand_ins.py DIRECTORY CELL...``: a pool of two real workers whose runs take no time or wait to be stopped.

A run does what the first word of its cell says, and leaves the id of its process in DIRECTORY/CELL.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from ablate.errors import UserError
from ablate.launch.display import SweepDisplay
from ablate.launch.failures import note_failure
from ablate.launch.pool import WorkerPool
from ablate.launch.worker import serve
from ablate.process.preemption import Preempted, noted_signals, raise_if_preempted


def work(descriptor: int, pool: int, has_bars: bool) -> None:
    serve(make_run, descriptor, pool, has_bars)


def make_run(values: Any) -> str:
    directory, cell = Path(values.paths.outputs), values.cell
    (directory / cell).write_text(str(os.getpid()))
    kind = cell.split("-")[0]
    if kind == "refused":
        note_failure("the rule, the value and the fix")
        raise UserError("the rule, the value and the fix")
    if kind == "crashes":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "leaves":  # as a run does that has too few servers left
        wait_for(directory / "waits")
        sys.exit(75)
    if kind == "waits":
        wait_to_be_stopped(directory / f"{cell}.stopped")
    return "done"


def wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.01)


def wait_to_be_stopped(note: Path) -> None:
    """As ``ablate.train``: leave with 75 after a signal that asks to stop, and with 130 after Ctrl-C."""
    try:
        with noted_signals():
            while True:
                raise_if_preempted()
                time.sleep(0.01)
    except Preempted:
        code = 75
    except KeyboardInterrupt:
        code = 130
    note.write_text(str(code))
    sys.exit(code)


def main(directory: str, *cells: str) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a script ignores it
    runs = [[f"cell={cell}", f"paths.outputs={directory}"] for cell in cells]
    ended = WorkerPool(runs, "stand_ins:work", 2, [], SweepDisplay()).make_all()
    print(json.dumps([each.status or str(each.error) for each in ended]))


if __name__ == "__main__":
    main(*sys.argv[1:])
