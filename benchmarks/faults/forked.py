"""A run in a fork of the campaign's process, which has imported what a run imports: imports are most of a start.

The run is ``ablate.train`` all the same. The unbroken run of each mode, whose records the others must equal, is started
by the ordinary command.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import types
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NoReturn

POLL_S = 0.05
MODULES = (
    *("hydra", "ablate.check_run", "ablate.loop", "ablate.session", "ablate.collector", "ablate.data.tokenizer"),
    *("vllm.engine.arg_utils", "vllm.v1.engine.llm_engine", "vllm.v1.engine.core", "vllm.v1.worker.cpu_worker"),
)
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


class Forked:
    """The part of ``subprocess.Popen`` that an attempt uses.

    Args:
        words: of the command line, after ``python -m ablate.train``.
    """

    def __init__(self, words: Sequence[str], output: IO[str], environment: dict[str, str], directory: Path) -> None:
        import_what_a_run_imports()
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            train_and_exit(words, output, environment, directory)

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float = float("inf")) -> int:
        end = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("ablate.train", timeout)
            time.sleep(POLL_S)
        return self.returncode

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


@functools.cache
def import_what_a_run_imports(more: tuple[str, ...] = ()) -> None:
    """Import it, and ``more``, with the environment that a run sets before its imports.

    Raises:
        RuntimeError: if an import has started a thread, because a fork would lack it.
    """
    from ablate.rollout.vllm.process import QUIET

    os.environ.update(QUIET, TORCHDYNAMO_DISABLE="1", OMP_NUM_THREADS="1")
    for name in (*MODULES, *more):
        importlib.import_module(name)
    comms = [path for path in Path("/proc/self/task").glob("*/comm") if path.parent.name != str(os.getpid())]
    threads = {path.read_text().strip() for path in comms} - {"jemalloc_bg_thd"}  # pyarrow starts it anew in a fork
    if threads:
        raise RuntimeError(f"a fork would lack threads of this process: {', '.join(threads)}")


def train_and_exit(words: Sequence[str], output: IO[str], environment: dict[str, str], directory: Path) -> NoReturn:
    """Be ``python -m ablate.train`` from here on, to the end of the interpreter."""
    become(["-m", "ablate.train", *words], output.fileno(), output.fileno(), environment, directory)


def become(words: Sequence[str], out: int, err: int, environment: dict[str, str], directory: Path | str) -> NoReturn:
    """Be ``python WORDS`` in a session of its own, to the end of the interpreter.

    Args:
        words: ``-m MODULE ARGUMENT...``, ``-c CODE ARGUMENT...`` or ``FILE ARGUMENT...``.
        out: descriptor of what becomes standard output; ``err``: of standard error.
    """
    os.setsid()
    for number in SIGNALS:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    os.dup2(out, sys.__stdout__.fileno())
    os.dup2(err, sys.__stderr__.fileno())
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    tempfile.tempdir = None  # TMPDIR is another one now
    code: object = 1
    try:
        run_main(words)
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
        if isinstance(code, str):
            print(code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)


def run_main(words: Sequence[str]) -> None:
    """Run what the words of Python's command line name, as its ``__main__``."""
    sys.orig_argv[:] = [sys.executable, *words]
    kind, *rest = words
    sys.argv[:] = rest if kind == "-m" else ["-c", *rest[1:]] if kind == "-c" else words
    if kind == "-m":
        sys.path.insert(0, str(Path.cwd()))
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.path.insert(0, "")
        main = sys.modules["__main__"] = types.ModuleType("__main__")  # a process that it spawns looks for a file of it
        exec(compile(rest[0], "<string>", "exec"), vars(main))
    else:
        sys.path.insert(0, str(Path(kind).parent))
        runpy.run_path(kind, run_name="__main__")
