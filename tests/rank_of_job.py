"""One rank of a job, forked from a process that has imported torch and Megatron once for all ranks."""

from __future__ import annotations

import atexit
import os
import runpy
import sys
from pathlib import Path


def run(command: list[str], environment: dict[str, str], log: Path) -> None:
    """Do what ``python command...`` does in this environment; all output goes to ``log``."""
    os.environ.update(environment)
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv = command
    try:
        runpy.run_path(command[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # which a process of multiprocessing leaves out
