# ruff: noqa: PTH108, PTH112, PTH114, PTH116, PTH118, PTH208
"""One test in a container that the platform isolates (Modal): it reads a request from standard input, prints an answer.

The platform separates the sandbox from the world. The program runs as a user of its own, which separates it from this
process, which runs as root. Every process and file of that user is removed before and after the test.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import sys

import kernel
import program
import server
import walls
import watch

USER = 61_938  # owns nothing in the container


def leave_by_user(limits: dict) -> None:
    """Nothing to do here: the directory was emptied for this test, and the platform isolates the rest."""


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
    for directory in (walls.DIRECTORY, "/dev/shm", "/var/tmp"):
        for name in os.listdir(directory) if os.path.isdir(directory) else ():
            path = os.path.join(directory, name)
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)


def members_of_user() -> list[str]:
    """The ids of all processes of the program's user."""
    return [name for name in os.listdir("/proc") if name.isdigit() and user_of(name) == USER]


def user_of(pid: str) -> int | None:
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except (FileNotFoundError, ProcessLookupError):
        return None  # ended meanwhile


def content(descriptor: int) -> str:
    with os.fdopen(descriptor, "rb") as file:
        file.seek(0)
        return base64.b64encode(file.read()).decode()


def run_request(request: dict) -> dict:
    """Compile and run; the answer has ``compiled``, and ``detail`` or the test's report and its two files."""
    limits, source = request["limits"], request["program"]
    code, failure = server.compile_limited(source, limits)
    if code is None:
        return {"compiled": False, "detail": failure}
    limits["needs_teardown"] = server.needs_teardown(code)
    script = source.encode("utf-8", "surrogatepass")
    prepared = program.Prepared(code, program.fresh_module(limits["mode"], limits["prelude"]), script, limits)
    files = [os.memfd_create(name) for name in ("in", "out", "result")]
    os.write(files[0], base64.b64decode(request["input"]))
    os.lseek(files[0], 0, os.SEEK_SET)
    remove_user_traces()
    confined, told = os.pipe2(os.O_NONBLOCK)
    child = kernel.fork()
    if child == 0:
        program.run(prepared, files, told, walls.Walls(leave_by_user, become_user))
    os.close(told)
    with os.fdopen(confined, "rb", buffering=0) as words:
        report = watch.watch(child, words, limits, members_of_user)
    remove_user_traces()
    return {"compiled": True, "report": report.to_row(), "output": content(files[1]), "result": content(files[2])}


def main() -> None:
    request, answer = json.load(sys.stdin), os.dup(1)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    program.prepare()
    report = json.dumps(run_request(request)).encode()
    while report:
        report = report[os.write(answer, report) :]
