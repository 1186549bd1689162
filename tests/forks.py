"""``python -m ablate.train`` and other commands of the tests, forked from one process that has made their imports.

Imports are most of what a short run costs: 10 s of a core. All workers of a session share the process. It is started by
the first test that asks, and ends with the session. Each law that is tested here is also tested on a run that the
ordinary command starts: the unbroken runs whose records the others must equal, those of SLURM and of torchrun.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from benchmarks.faults import forked

ROOT = Path(__file__).resolve().parents[1]
START_LIMIT_S = 1200
MESSAGE_BYTES = 1 << 20
MODULES = ("ablate.evaluate", "ablate.laboratory", "ablate.launch.worker", "vllm.entrypoints.openai.api_server")


class Fork:
    """The part of ``subprocess.Popen`` that the tests use. The process is in a session of its own.

    Args:
        words: of the command line, after ``python``.
        output: takes both streams; without it, ``communicate`` returns what the process has written.
        merged: standard error goes where standard output goes.
    """

    def __init__(
        self,
        words: Sequence[str],
        *,
        output: IO | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        merged: bool = True,
    ) -> None:
        self.args, self.returncode = list(words), None
        self.stdout = output or tempfile.TemporaryFile()  # noqa: SIM115
        self.stderr = self.stdout if merged else tempfile.TemporaryFile()  # noqa: SIM115
        self.connection = connected()
        message = {"words": list(map(str, words)), "env": dict(env or os.environ), "cwd": str(cwd or Path.cwd())}
        descriptors = [self.stdout.fileno(), self.stderr.fileno()]
        socket.send_fds(self.connection, [json.dumps(message).encode()], descriptors)
        self.pid = int(self.connection.recv(64))

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self.connection], [], [], 0)[0]:
            self.returncode = int(self.connection.recv(64))
            self.connection.close()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None and not select.select([self.connection], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.poll()

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        try:
            self.wait(timeout)
        finally:
            self.kill()
        return tuple(text_of(stream) for stream in (self.stdout, self.stderr))


def text_of(stream) -> str:
    stream.seek(0)
    return stream.read().decode()


def run(words: Sequence[str], *, timeout: float | None = None, **settings) -> subprocess.CompletedProcess[str]:
    """As ``subprocess.run([sys.executable, *words], capture_output=True, text=True)``."""
    process = Fork(words, merged=False, **settings)
    out, err = process.communicate(timeout)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def connected() -> socket.socket:
    """A connection to the process that forks for this session."""
    owner = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    name, starter, deadline = f"\0ablate-tests-{owner}", None, time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            connection.connect(name)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MESSAGE_BYTES)
            return connection
        except ConnectionRefusedError:
            connection.close()
        if starter is None:
            command = [sys.executable, __file__, name[1:], str(owner)]
            starter = subprocess.Popen(
                command,
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        time.sleep(0.02)
    raise TimeoutError(f"the process that forks commands did not come up within {START_LIMIT_S} s")


def serve(name: str, owner: int) -> None:
    """Fork commands until ``owner`` has ended. Another process that has the name already serves instead of this one."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        listener.bind(f"\0{name}")
    except OSError:
        return
    listener.listen(64)
    end = os.pidfd_open(owner)
    forked.import_what_a_run_imports(MODULES)
    gc.freeze()
    children: dict[int, tuple[int, socket.socket]] = {}  # descriptor of the process -> its id, who asked for it
    while end not in (ready := select.select([listener, end, *children], [], [])[0]):
        for each in ready:
            if each is listener:
                connection, _ = listener.accept()
                message, descriptors, _, _ = socket.recv_fds(connection, MESSAGE_BYTES, 2)
                pid = os.fork()
                if pid == 0:
                    for descriptor in (listener.fileno(), end, connection.fileno(), *children):
                        os.close(descriptor)
                    asked = json.loads(message)
                    forked.become(asked["words"], *descriptors, asked["env"], asked["cwd"])
                for descriptor in descriptors:
                    os.close(descriptor)
                children[os.pidfd_open(pid)] = (pid, connection)
                with suppress(OSError):
                    connection.send(str(pid).encode())
            else:
                os.close(each)
                pid, connection = children.pop(each)
                status = os.waitpid(pid, 0)[1]
                with connection, suppress(OSError):  # a test that failed no longer waits
                    connection.send(str(os.waitstatus_to_exitcode(status)).encode())
    for pid, _ in children.values():
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
