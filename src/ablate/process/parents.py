"""Processes that end with the process that started them, however that ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h

# What a shell runs before a program: a part of it stays in the program's process group, which waits for a pipe that the
# kernel closes with the process that started the shell, and then kills the group. It takes no signal of the group's.
GUARD = """exec 3<&0 </dev/null; (trap '' TERM INT HUP; read -r _ <&3; kill -KILL 0) & exec "$@" 3<&-"""


def end_with(parent: int) -> None:
    """Let the kernel kill this process when the process ``parent``, which started it, ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before we asked
        os._exit(1)


def ending_with_us(module: str, *arguments: str) -> list[str]:
    """The command of ``python -m MODULE ARGUMENTS``, which the kernel kills when this process ends.

    The program asks the kernel before it imports anything else: an import may take seconds.
    """
    code = f"import runpy; runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    return [sys.executable, "-c", asking_first() + code, *arguments]


def asking_first() -> str:
    """What a Python program that this process starts runs first: the kernel kills it when this process ends."""
    asks = f"import ctypes; ctypes.CDLL(None).prctl({PR_SET_PDEATHSIG}, {signal.SIGKILL:d}); "
    return f"import os; {asks if sys.platform == 'linux' else ''}os.getppid() == {os.getpid()} or os._exit(1); "


def guarded(command: list[str]) -> list[str]:
    """The command with a guard: give it a pipe as its standard input whose other end this process alone holds.

    When the pipe closes, everything in the program's process group is killed, children of the program included. Start
    it in a session of its own.
    """
    return ["/bin/sh", "-c", GUARD, "sh", *command]
