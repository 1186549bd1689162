"""Checkers of the local backend: a container of their own, and one session in it for each job."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import time
from collections.abc import Callable

from ablate.verify.checker import (
    GRACE_S,
    SESSION,
    SESSION_S,
    Judged,
    judged,
    opening,
    request,
    runs_in_session,
    session_limits,
    too_long,
    wall_limit_s,
)
from ablate.verify.jobs import ALIVE_EVERY_S, Interrupted, Job
from ablate.verify.local.container import Container, ContainerError, memory_file

Limits = Callable[[Job], dict]
RESET_FRAME = b"\xff" * 8  # ``RESET`` of inside/checking.py


class Checking:
    """Judges answers by the checker of the job that runs; the container starts with the first job that has one.

    The container holds no program, and the program's container no checker: what a program prints reaches the checker
    as the content of a file, and in no other way. The session of a compiled checker is kept for the next job with the
    same one, and forgets between them whatever the checker did; that of a Python checker ends with its job.
    """

    def __init__(self, container: Container, limits: Limits) -> None:
        self.container = container
        self.limits = limits
        self.memory_limit_mib: int | None = None  # of the sessions that the open program may hold
        self.line: socket.socket | None = None  # to the session
        self.kept: tuple[object, ...] | None = None  # what the session of a job that has ended was opened for
        self.waiting = b""

    def judge(self, job: Job, index: int, answer: bytes) -> Judged:
        """Judge the answer to one test.

        Raises:
            ContainerError: when the sandbox itself is at fault.
        """
        if self.kept not in (None, of_session(job)):
            self.end()
        begins = RESET_FRAME if self.kept else b""
        self.kept = None
        if self.line is None:
            self.open(job)
        try:
            self.send(begins + request(job, index, answer), wall_limit_s(job))
            return judged(job, self.receive(wall_limit_s(job) * (1 if runs_in_session(job.checker) else 2)))
        except TimeoutError:
            self.stop()
            return Judged(None, too_long(job))
        except (OSError, ValueError) as error:  # a checker that ends its session: whatever it says no more is believed
            self.stop()
            return Judged(None, f"its session broke ({type(error).__name__})")

    def open(self, job: Job) -> None:
        if self.container.process is None or self.memory_limit_mib != job.memory_limit_mib:
            self.container.restart()
            source = memory_file("checking", SESSION.encode())
            self.container.send({"op": "program", **session_limits(self.limits(job), job.memory_limit_mib)}, [source])
            os.close(source)
            if not self.container.receive(GRACE_S + 60.0).get("compiled"):
                raise ContainerError("the session of a checker does not compile")
            self.memory_limit_mib = job.memory_limit_mib
        self.line, theirs = socket.socketpair()
        self.line.setblocking(False)
        self.waiting, self.opened_at = b"", time.monotonic()
        result = memory_file("result")
        try:
            with theirs, theirs.dup() as output:
                self.container.send({"op": "test"}, [theirs.fileno(), output.fileno(), result])
        finally:
            os.close(result)
        with contextlib.suppress(OSError):  # the next read says why
            self.send(opening(job), GRACE_S + 60.0)

    def send(self, data: bytes, timeout_s: float) -> None:
        view, deadline = memoryview(data), time.monotonic() + timeout_s + GRACE_S
        while view:
            self.wait(select.POLLOUT, deadline)
            with contextlib.suppress(BlockingIOError):
                view = view[self.line.send(view) :]

    def receive(self, timeout_s: float) -> dict:
        """Read the session's next line."""
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self.waiting:
            self.wait(select.POLLIN, deadline)
            with contextlib.suppress(BlockingIOError):
                piece = self.line.recv(1 << 16)
                if not piece:
                    raise ConnectionError
                self.waiting += piece
        line, _, self.waiting = self.waiting.partition(b"\n")
        reply = json.loads(line)
        if not isinstance(reply, dict):
            raise ValueError("no object")
        return reply

    def wait(self, what: int, deadline: float) -> None:
        """Wait until the session can be written to or read from; answer the verifier meanwhile."""
        poll = select.poll()
        poll.register(self.line, what)
        poll.register(self.container.line, select.POLLIN)
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        ready = dict(poll.poll(min(left_s, ALIVE_EVERY_S) * 1000))
        if self.container.line.fileno() in ready and self.container.is_cancelled():
            raise Interrupted
        self.container.on_wait()

    def close(self, job: Job) -> None:
        """End a job: its session ends or is kept."""
        if self.line is not None and self.kept is None:
            if job.checker_binary and time.monotonic() < self.opened_at + SESSION_S / 2:
                self.kept = of_session(job)
            else:
                self.end()

    def end(self) -> None:
        """End the session; the container waits for the next one."""
        self.line.close()
        self.line = self.kept = None
        try:
            self.container.receive(GRACE_S)
        except ContainerError:
            self.stop()

    def stop(self) -> None:
        if self.line is not None:
            self.line.close()
        self.line = self.kept = None
        self.container.stop()
        self.memory_limit_mib = None


def of_session(job: Job) -> tuple[object, ...]:
    """What jobs must share to share a session."""
    return job.checker, job.checker_binary, job.checker_time_limit_s, job.memory_limit_mib
