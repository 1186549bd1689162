"""A worker's trusted half: a process that owns one container, feeds it one test at a time and compares outputs.

A process of its own, because the judge's process may be busy (generation holds the interpreter lock) or killed: its end
closes our line, and we kill and clean up what we started. Imports nothing beyond the standard library.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import time

from ablate.types import VerdictKind
from ablate.verify import cgroups, compare, sandbox_view
from ablate.verify.container import (
    Container,
    ContainerError,
    Interrupted,
    adopt_orphans,
    find_bubblewrap,
    memory_file,
    stage,
)
from ablate.verify.inside import kernel
from ablate.verify.jobs import (
    CANCELLED,
    Job,
    Report,
    hardest_first,
    infrastructure_error,
    receive_message,
    send_message,
)

MIB = 1 << 20
CONTAINER_MIB = 64  # the server's and the program process's own memory, beside the test's
UNCOUNTED_MIB = 512  # address space that thread arenas and libraries reserve without using it
DISK_MIB = 64
GRACE_S = 10.0  # beyond a test's wall limit, before the container counts as broken
LOOK_EVERY_S = 0.05  # without a control group memory is watched
STARVED_FACTOR = 5  # times the wall limit: a test that waited for a processor that long is given up, not scored


def limits_of(job: Job, watched: bool) -> dict:
    memory_bytes = job.memory_limit_mib * MIB
    return {
        "mode": job.mode,
        "fn_name": job.fn_name,
        "cpu_s": job.time_limit_s,
        "wall_s": job.wall_limit_s,
        "starved_s": STARVED_FACTOR * job.wall_limit_s,
        "look_every_s": LOOK_EVERY_S if watched else job.wall_limit_s,
        "memory_bytes": memory_bytes if watched else 1 << 62,
        "address_space_bytes": memory_bytes + UNCOUNTED_MIB * MIB,
        "output_bytes": job.output_limit_kib * 1024,
        "max_processes": job.max_processes,
        "disk_bytes": DISK_MIB * MIB,
    }


def run_job(container: Container, job: Job) -> Report:
    """Judge one program; stops at the first failing test."""
    order = hardest_first(job)
    report = Report(num_tests=len(order))
    started = time.monotonic()
    limits = limits_of(job, watched=container.group is None)
    if container.group is not None:
        container.group.limit((job.memory_limit_mib + CONTAINER_MIB) * MIB, job.max_processes)
    failure = open_program(container, job, limits)
    if failure is None:
        run_tests(container, job, limits, order, report)
        if container.process is not None:
            container.send({"op": "done"}, [])
    else:
        report.kind, report.detail = VerdictKind.compile_error.value, failure
    report.wall_s = time.monotonic() - started
    return report


def run_tests(container: Container, job: Job, limits: dict, order: list[int], report: Report) -> None:
    """Run the tests in this order until one fails; the report grows as they end."""
    for position, index in enumerate(order):
        if job.container == "test" and position:
            container.restart()
            open_program(container, job, limits)
        report.kind, report.detail = run_test(container, job, index, report)
        if report.kind != VerdictKind.accepted:
            report.first_failed = None if report.is_infrastructure_error else index
            return
        report.num_passed += 1


def open_program(container: Container, job: Job, limits: dict) -> str | None:
    """Hand the program over; None when it compiles, else why not."""
    source = memory_file("source", job.program.encode("utf-8", "surrogatepass"))
    try:
        container.send({"op": "program", **limits}, [source])
    finally:
        os.close(source)
    answer = container.receive(STARVED_FACTOR * job.wall_limit_s + GRACE_S)
    if "died" in answer:
        if not os.WIFSIGNALED(answer["died"]):
            raise ContainerError(container.reason("the program process failed"))
        return f"the compiler was stopped by signal {os.WTERMSIG(answer['died'])}"
    return None if answer["compiled"] else answer["detail"]


def run_test(container: Container, job: Job, index: int, report: Report) -> tuple[str, str]:
    """Run one test; add its cost to ``report``; return its kind and detail."""
    text, expected = job.tests[index]
    killed_before = container.group.num_out_of_memory() if container.group else 0
    files = [
        memory_file("in", text.encode("utf-8", "surrogateescape")),
        memory_file("output"),
        memory_file("result"),
    ]
    try:
        try:
            container.send({"op": "test"}, files)
            answer = container.receive(STARVED_FACTOR * job.wall_limit_s + GRACE_S)
        except ContainerError:
            if container.group is None or container.group.num_out_of_memory() == killed_before:
                raise
            container.stop()  # the program filled the container until the kernel ended the server too
            return VerdictKind.memory_limit.value, "out of memory"
        if not answer.get("confined"):
            raise ContainerError(container.reason(f"a test could not be confined: {answer.get('detail') or answer}"))
        report.cpu_s += answer["cpu_s"]
        report.peak_mib = max(report.peak_mib, answer["peak_kib"] / 1024)
        out_of_memory = container.group is not None and container.group.num_out_of_memory() > killed_before
        failure = failure_of(job, answer, files, out_of_memory)
        if failure is None:
            return ("accepted", "") if agrees(job, files, expected) else ("wrong_answer", "")
        return failure
    finally:
        for descriptor in files:
            os.close(descriptor)


def failure_of(job: Job, answer: dict, files: list[int], out_of_memory: bool) -> tuple[str, str] | None:
    """Why the test failed before anybody looked at its answer; None when it ended well."""
    status, stopped = answer["status"], answer["stopped"]
    if stopped == "memory" or (out_of_memory and status != 0):
        return "memory_limit", "out of memory"
    if stopped == "cpu" or answer["cpu_s"] > job.time_limit_s:
        return "time_limit", f"{answer['cpu_s']:.2f} s of CPU"
    if stopped == "starved":
        return "infrastructure_error", f"the machine starved the program for {answer['run_wait_s']:.1f} s"
    if stopped == "wall":
        return "time_limit", f"{answer['wall_s']:.2f} s of wall time"
    if os.fstat(files[1]).st_size > job.output_limit_kib * 1024:
        return "output_limit", f"more than {job.output_limit_kib} KiB"
    note = os.pread(files[2], 2000, 0) if status else b""
    if status and note[:1] == b"M":
        return "memory_limit", "MemoryError"
    if os.WIFSIGNALED(status):
        return "runtime_error", f"signal {os.WTERMSIG(status)}"
    if status:
        return "runtime_error", readable(note) or f"exit status {os.WEXITSTATUS(status)}"
    return None


def readable(note: bytes) -> str:
    """The program's own last words, which may be anything."""
    try:
        text = json.loads(note[1:])
    except ValueError:
        return ""
    return text[:400] if isinstance(text, str) else ""


def agrees(job: Job, files: list[int], expected: str) -> bool:
    output = read_all(files[2 if job.mode == "functional" else 1])
    if job.mode == "functional":
        return output[:1] == b"R" and compare.compare_json(output[1:], expected, job.float_tolerance)
    return compare.COMPARISONS[job.comparison](output, expected, job.float_tolerance)


def read_all(descriptor: int) -> bytes:
    with os.fdopen(os.dup(descriptor), "rb") as file:
        file.seek(0)
        return file.read()


class Supervisor:
    """Serves jobs from one line with one container until the line ends."""

    def __init__(self, line: socket.socket, group: cgroups.Group | None) -> None:
        view = sandbox_view.find_view()
        bwrap = find_bubblewrap()
        binds = stage(bwrap, view) if os.getuid() == 0 else list(view.binds)
        self.line = line
        self.current: int | None = None
        self.problem_id: str | None = None
        self.container = Container(bwrap, view, binds, group, line, self.called_off)

    def called_off(self) -> bool:
        """Read one message that came during a job: the end of the line, or a job's number to cancel."""
        message = receive_message(self.line)
        return message is None or message == self.current

    def serve(self) -> None:
        while (job := receive_message(self.line)) is not None:
            if isinstance(job, Job):  # else it cancels a job whose report crossed it on its way
                send_message(self.line, self.judge(job))

    def judge(self, job: Job) -> Report:
        self.current = job.number
        try:
            if self.container.process is None or job.fresh or self.is_used_up(job):
                self.container.restart()
            self.problem_id = job.problem_id
            return run_job(self.container, job)
        except (ContainerError, OSError) as error:  # OSError: no memory or no descriptor left for a test's files
            self.container.stop()
            return infrastructure_error(job, str(error))
        except Interrupted:
            self.container.stop()
            return infrastructure_error(job, CANCELLED)
        finally:
            self.current = None

    def is_used_up(self, job: Job) -> bool:
        """Per rollout the server makes a container of namespaces by itself; other strategies replace the whole."""
        return job.container == "test" or (job.container == "problem" and job.problem_id != self.problem_id)


def main(line: socket.socket) -> None:
    """Serve until the judge closes the line or dies; leave nothing behind."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    adopt_orphans()
    sys.set_int_max_str_digits(compare.MAX_INT_DIGITS)
    group, sentence = cgroups.make_group()
    supervisor = None
    try:
        supervisor = Supervisor(line, group)
        supervisor.container.start()
        send_message(line, ("ready", sentence))
        supervisor.serve()
    except (ContainerError, OSError) as error:
        with contextlib.suppress(OSError):  # the judge may be gone
            send_message(line, ("failed", f"the sandbox does not start: {error}"))
    finally:
        if supervisor is not None:
            supervisor.container.stop()
        if group is not None:
            group.remove()


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
