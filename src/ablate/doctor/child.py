"""Run a check in a process of its own: it may hang, crash, or keep a device, and the doctor goes on."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection

from ablate.config import RunConfig
from ablate.doctor.finding import FAILED, Finding, run_check

FIX = "look at what the machine is doing; the first start on a GPU compiles kernels, so a second try is quicker"
Check = Callable[[RunConfig], Sequence[Finding]]


def in_child(name: str, check: Check, config: RunConfig, limit_s: float) -> list[Finding]:
    """The findings of ``check``; a process that ends without an answer, or gives none in time, is a failed row.

    Args:
        check: a function at the top of a module, which the child imports.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=answer, args=(theirs, name, check, config))
    process.start()
    theirs.close()
    try:
        if not ours.poll(limit_s):
            return [Finding(name, FAILED, f"no answer within {limit_s:.0f} s", FIX)]
        return ours.recv()
    except EOFError:
        process.join()
        says = f"the process of this check ended with exit code {process.exitcode}"
        return [Finding(name, FAILED, says, "read what it printed above this table")]
    finally:
        process.kill()
        process.join()


def answer(line: Connection, name: str, check: Check, config: RunConfig) -> None:
    line.send(run_check(name, lambda: check(config)))
    line.close()
