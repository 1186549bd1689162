"""The local backend's trusted half: a process that owns one container, feeds it one test at a time and scores it.

It is a process of its own because the verifier's process may be busy (generation holds the interpreter lock) or killed.
When the verifier's process ends, its end of the socket closes, and the supervisor kills and removes everything it
started. It imports nothing that has to be installed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from ablate.types import Verdict, VerdictKind
from ablate.verify.inside import kernel
from ablate.verify.inside.test_report import BROKEN_INPUT, COMPILED_TOO_LONG, compiler_stopped, parse_report
from ablate.verify.jobs import ALIVE, ALIVE_EVERY_S, CANCELLED, Interrupted, Job, infrastructure_error, num_tests_run
from ablate.verify.json_values import MAX_INT_DIGITS
from ablate.verify.local import cgroups, sandbox_view
from ablate.verify.local.checking import Checking
from ablate.verify.local.container import (
    Container,
    ContainerError,
    adopt_orphans,
    find_bubblewrap,
    memory_file,
)
from ablate.verify.local.messages import receive_message, send_message
from ablate.verify.local.staging import HOST_DEVICES, stage
from ablate.verify.scoring import MIB, Judge, Outcome, limits_of, longest_wait_s, run_in_order, score

CONTAINER_MIB = 64  # the server's and the program process's own memory, in addition to the test's


def run_job(container: Container, job: Job, judge: Judge) -> Verdict:
    """Verify one program; stops at the first failing test."""
    started = time.monotonic()
    container.take_complaints()
    limits = limits_of(job, watched=container.group is None)
    if container.group is not None:
        container.group.limit((job.memory_limit_mib + CONTAINER_MIB) * MIB, job.max_processes)
    failure = open_program(container, job, limits)
    if failure is None:
        verdict = run_tests(container, job, limits, judge)
        if container.process is not None:
            container.send({"op": "done"}, [])
    else:
        verdict = Verdict(VerdictKind.compile_error, 0, num_tests_run(job), None, 0.0, 0.0, 0.0, failure)
    return replace(verdict, wall_s=time.monotonic() - started)


def run_tests(container: Container, job: Job, limits: dict, judge: Judge) -> Verdict:
    def run(position: int, index: int) -> Outcome:
        if job.container == "test" and position:
            container.restart()
            open_program(container, job, limits)
        return run_test(container, job, index, judge)

    return run_in_order(job, run)


def open_program(container: Container, job: Job, limits: dict) -> str | None:
    """Hand the program over; return None when it compiles, else why not."""
    source = memory_file("source", job.program.encode("utf-8", "surrogatepass"))
    try:
        container.send({"op": "program", **limits}, [source])
    finally:
        os.close(source)
    answer = container.receive(longest_wait_s(job))
    if "died" in answer:
        code = os.waitstatus_to_exitcode(answer["died"])
        if code >= 0 and code != COMPILED_TOO_LONG:
            raise ContainerError(container.reason("the program process failed"))
        return compiler_stopped(code)
    return None if answer["compiled"] else answer["detail"]


def run_test(container: Container, job: Job, index: int, judge: Judge) -> Outcome:
    """Run and score one test."""
    text = job.tests[index].input.encode("utf-8", "surrogateescape")
    killed_before = container.group.num_out_of_memory() if container.group else 0
    files = [memory_file("in", text), memory_file("output"), memory_file("result")]
    try:
        try:
            container.send({"op": "test"}, files)
            answer = container.receive(longest_wait_s(job))
        except ContainerError:
            if container.group is None or container.group.num_out_of_memory() == killed_before:
                raise
            container.stop()  # the program filled the container until the kernel ended the server too
            return Outcome(VerdictKind.memory_limit, "out of memory")
        try:
            report = parse_report(answer)
        except ValueError as error:
            raise ContainerError(container.reason(str(error))) from error
        if not report.is_confined and not report.complaint.startswith(BROKEN_INPUT):
            raise ContainerError(container.reason(f"a test could not be confined: {report.complaint}"))
        out_of_memory = container.group is not None and container.group.num_out_of_memory() > killed_before
        return score(job, index, report, files[1], files[2], out_of_memory, judge)
    finally:
        for descriptor in files:
            os.close(descriptor)


class Supervisor:
    """Serves jobs from one line with one container until the line ends."""

    def __init__(self, line: socket.socket, group: cgroups.Group | None, others: Sequence[tuple[str, str]]) -> None:
        view = sandbox_view.find_view(others)
        bwrap = find_bubblewrap()
        if os.getuid() == 0:
            binds, devices = stage(bwrap, view)
        else:
            binds, devices = list(view.binds), HOST_DEVICES
        self.line = line
        self.current: int | None = None
        self.problem_id: str | None = None
        self.container = Container(bwrap, view, binds, devices, group, line, self.is_cancelled, self.say_alive)
        checking = Container(bwrap, view, binds, devices, None, line, self.is_cancelled, self.say_alive)
        self.checking = Checking(checking, lambda job: limits_of(job, watched=True))
        self.said_at = 0.0

    def is_cancelled(self) -> bool:
        """Read one message that came during a job: the end of the line, or the number of a job to cancel."""
        message = receive_message(self.line)
        return message is None or message == self.current

    def say_alive(self) -> None:
        """During a job, tell the verifier every few seconds that this process is not stopped."""
        now = time.monotonic()
        if self.current is not None and now - self.said_at > ALIVE_EVERY_S:
            self.said_at = now
            send_message(self.line, ALIVE)

    def serve(self) -> None:
        while (job := receive_message(self.line)) is not None:
            if isinstance(job, Job):  # a number cancels a job whose verdict is already on its way
                send_message(self.line, self.verify(job))

    def verify(self, job: Job) -> Verdict:
        self.current = job.number
        try:
            if self.container.process is None or job.fresh or self.is_used_up(job):
                self.container.restart()
            self.problem_id = job.problem_id
            verdict = run_job(self.container, job, self.checking.judge)
            self.checking.close(job)
            return verdict
        except (ContainerError, OSError) as error:  # OSError: no memory or no descriptor left for a test's files
            self.stop()
            return infrastructure_error(job, str(error))
        except Interrupted:
            self.stop()
            return infrastructure_error(job, CANCELLED)
        finally:
            self.current = None

    def stop(self) -> None:
        self.container.stop()
        self.checking.stop()

    def is_used_up(self, job: Job) -> bool:
        """Per rollout, the server makes a container of namespaces by itself; other strategies replace the whole."""
        return job.container == "test" or (job.container == "problem" and job.problem_id != self.problem_id)


def main(line: socket.socket, others: Sequence[tuple[str, str]] = ()) -> None:
    """Serve until the verifier closes the line or dies; leave nothing behind. ``others``: see ``find_view``."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    adopt_orphans()
    sys.set_int_max_str_digits(MAX_INT_DIGITS)
    group, sentence = cgroups.make_group()
    supervisor = None
    try:
        supervisor = Supervisor(line, group, others)
        supervisor.container.start()
        send_message(line, ("ready", sentence))
        supervisor.serve()
    except (ContainerError, OSError) as error:
        with contextlib.suppress(OSError):  # the verifier may be gone
            send_message(line, ("failed", f"the sandbox does not start: {error}"))
    finally:
        if supervisor is not None:
            supervisor.stop()
        if group is not None:
            group.remove()


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
