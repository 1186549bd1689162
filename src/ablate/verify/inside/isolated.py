# ruff: noqa: PTH106, PTH119, PTH108, PTH112, PTH114, PTH116, PTH208
"""The tests of one program in a container that the platform isolates (Modal).

The platform separates the sandbox from the world. The program runs as a user of its own, which separates it from this
process, which runs as root. Every process and file of that user is removed before and after each test.

Standard input is a sequence of frames: 8 bytes of length, then that many bytes. The first frame is JSON (program and
limits), every other frame is the input of one test. Standard output gets one line of JSON for the compilation and one
per test. This process ends with its input, or with the first test that fails by itself; answers are compared outside.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import signal
import sys
from collections.abc import Callable

import ending
import kernel
import plain
import program
import server
import usage
import walls
import watch
from test_report import compiler_stopped

USER = 61_938  # owns nothing in the container
PIECE_BYTES = 1 << 16
WRITABLE = (walls.DIRECTORY, "/dev/shm", "/var/tmp", "/run/lock", "/dev/mqueue")


def leave_by_user() -> list[int]:
    """Nothing to do here: the directory was emptied for this test, and the platform isolates the rest."""
    return []


def become_user() -> None:
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)  # leaving root drops every capability
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)


def remove_user_traces() -> None:
    """Kill all processes of the user at once, and empty the directories that the user may write to."""
    killer = os.fork()
    if killer == 0:
        become_user()
        os.kill(-1, signal.SIGKILL)
        os._exit(0)  # kill(-1) spares the process that calls it
    os.waitpid(killer, 0)
    for directory in filter(os.path.isdir, WRITABLE):
        empty(directory)


def empty(directory: str) -> None:
    """Remove what tests left in a directory, however deep it is nested: no descriptor stays open, no path is long."""
    os.chdir(directory)
    names: list[str] = []  # from the directory to where we are
    left = [remove_files(of_user)]  # the subdirectories on the way that are still there
    while left:
        if left[-1]:
            names.append(left[-1].pop())
            os.chdir(names[-1])
            left.append(remove_files(lambda name: True))
        elif names:
            left.pop()
            os.chdir("..")
            os.rmdir(names.pop())
        else:
            break
    os.chdir("/")


def of_user(name: str) -> bool:
    """Did a test put it there? Its source is written before it becomes the user."""
    return os.lstat(name).st_uid == USER or name == os.path.basename(walls.PATH)


def remove_files(is_ours: Callable[[str], bool]) -> list[str]:
    """Remove what is no directory from where we are; return the names of the directories."""
    directories = []
    for name in filter(is_ours, os.listdir()):
        if os.path.isdir(name) and not os.path.islink(name):
            directories.append(name)
        else:
            os.unlink(name)
    return directories


def members_of_user() -> list[str]:
    """The ids of all processes of the program's user."""
    return [name for name in os.listdir("/proc") if name.isdigit() and user_of(name) == USER]


def user_of(pid: str) -> int | None:
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except (FileNotFoundError, ProcessLookupError):
        return None  # ended meanwhile


def content(descriptor: int, output_bytes: int) -> str:
    with os.fdopen(descriptor, "rb") as file:
        file.seek(0)
        return base64.b64encode(file.read(output_bytes + 1)).decode()


def receive_size(requests: int) -> int | None:
    """The length of the next frame; None at the end of the input."""
    header = os.read(requests, 8)
    while 0 < len(header) < 8:
        header += os.read(requests, 8 - len(header)) or sys.exit("the input ended within a frame")
    return int.from_bytes(header, "big") if header else None


def receive_into(file: int, requests: int, size: int) -> None:
    """Copy a frame's bytes piece by piece. The frames after it stay in the pipe, so that no test can find them here."""
    while size:
        piece = os.read(requests, min(size, PIECE_BYTES)) or sys.exit("the input ended within a frame")
        size -= len(piece)
        while piece:
            piece = piece[os.write(file, piece) :]
    os.lseek(file, 0, os.SEEK_SET)


def receive_program(requests: int) -> dict:
    file = os.memfd_create("program")
    receive_into(file, requests, receive_size(requests) or sys.exit("the input ended before a program"))
    with os.fdopen(file, "rb") as text:
        return json.loads(text.read())


def prepared_program(source: str, limits: dict) -> tuple[program.Prepared | None, str | None]:
    """Compile; returns the program, or None and the compiler's sentence."""
    failure = try_compiler(source, limits)
    code, failure = server.compile_limited(source, limits) if failure is None else (None, failure)
    if code is None:
        return None, failure
    script = source.encode("utf-8", "surrogatepass")
    module = program.fresh_module(limits["mode"], limits["prelude"])
    mark = None if plain.is_plain(code, plain.suspects_in(module)) else ending.Mark()
    server.freeze()
    way = walls.Walls(leave_by_user, become_user, walls.calls_to_limit(limits))
    return program.Prepared(code, program.unfrozen(module), script, limits, way, mark), None


def try_compiler(source: str, limits: dict) -> str | None:
    """Compile in a process of its own, which a source text may end; say how it ended if that was not its own end."""
    child = os.fork()
    if child == 0:
        server.compile_limited(source, limits)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return compiler_stopped(code) if code else None


def run_test(prepared: program.Prepared, requests: int, size: int) -> dict:
    """Run one test; the answer has its report and its two files, and says whether it is the last one."""
    files = [os.memfd_create(name) for name in ("in", "out", "result")]
    receive_into(files[0], requests, size)
    remove_user_traces()
    confined, told = walls.pair_for_words()
    meter = usage.CpuMeter(None)
    child = kernel.fork()
    if child == 0:
        program.run(prepared, files, told)
    told.close()
    os.close(files[0])
    report = watch.watch(child, confined, prepared.limits, members_of_user, meter, files[1:])
    confined.close()
    remove_user_traces()
    has_failed = bool(report.status or report.stopped or not report.is_confined)
    output, result = (content(file, prepared.limits["output_bytes"]) for file in files[1:])
    return {"report": report.to_row(), "output": output, "result": result, "is_last": has_failed}


def say(answers: int, **answer: object) -> None:
    line = json.dumps(answer).encode() + b"\n"
    while line:
        line = line[os.write(answers, line) :]


def main() -> None:
    # A test process closes both before the program's first line.
    requests, answers = (fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, server.LOWEST_OWN) for number in (0, 1))
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    first = receive_program(requests)
    program.prepare()
    if first["limits"]["has_packages"]:  # python -S leaves them out
        import sysconfig

        sys.path.append(sysconfig.get_path("purelib"))
    prepared, failure = prepared_program(first["program"], first["limits"])
    say(answers, compiled=failure is None, detail=failure)
    while prepared is not None and (size := receive_size(requests)) is not None:
        answer = run_test(prepared, requests, size)
        say(answers, **answer)
        if answer["is_last"]:
            return
