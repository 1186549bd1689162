"""A job whose ranks share one import of Megatron: ``python ranks.py OUT SIZE KIND [te] CASE...``.

The ranks are forked after the import, which costs more than most cases. Each rank writes to OUT/rankN.log, and its
collectives to OUT/collectivesN.pt. KIND is ``parity`` or ``step``, functions of layout_runs.py. ``te`` puts the double
of Transformer Engine in place, before Megatron is imported.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

import jobs
import te_standin

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    out, size, kind, *names = sys.argv[1:]
    if names[0] == "te":
        te_standin.install()
        names = names[1:]
    import layout_runs

    environment = jobs.common_environment(int(size))
    children = []
    for rank in range(int(size)):
        child = os.fork()
        if child == 0:
            become(rank, environment, Path(out))
            layout_runs.run_rank(kind, names, Path(out))
            return
        children.append(child)
    statuses = [os.waitpid(child, 0)[1] for child in children]
    sys.exit(max(abs(os.waitstatus_to_exitcode(status)) for status in statuses))


def become(rank: int, environment: dict[str, str], out: Path) -> None:
    """Make this process rank ``rank``, as torchrun would have started it. It ends with the process that forked it."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.environ |= environment | jobs.own_environment(rank)
    log = os.open(out / f"rank{rank}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)


if __name__ == "__main__":
    main()
