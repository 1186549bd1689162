# ruff: noqa: PTH108, PTH112, PTH114, PTH116, PTH118, PTH123, PTH208
"""One test in a container that somebody else isolates (Modal): reads a request from standard input, prints a report.

Here the platform is the wall towards the world, and another user id the wall between the program and this process,
which runs as root. Every process and file of that user is removed before and after.
"""

from __future__ import annotations

import base64
import json
import os
import resource
import shutil
import signal
import sys
import time

import kernel
import program
import server
from watch import TICKS_PER_S

USER = 61_938  # owns nothing in the container
LOOK_EVERY_S = 0.02


def leave_by_user(limits: dict) -> None:
    """The directory was emptied for this test; make it the program's."""


def become_user() -> None:
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)  # leaving root drops every capability
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)


def remove_user_traces() -> None:
    """Kill the user's processes, whatever they fork meanwhile, and empty the directories it may write to."""
    killer = os.fork()
    if killer == 0:
        become_user()
        os.kill(-1, signal.SIGKILL)
        os._exit(0)  # a process does not kill itself by -1
    os.waitpid(killer, 0)
    for directory in (program.DIRECTORY, "/dev/shm", "/var/tmp"):
        for name in os.listdir(directory) if os.path.isdir(directory) else ():
            path = os.path.join(directory, name)
            shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)


def usage_of_user() -> tuple[float, int, bool]:
    """CPU seconds, resident bytes and idleness of every process of the program's user."""
    cpu_s, resident_bytes, is_asleep = 0.0, 0, True
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and os.stat(f"/proc/{name}").st_uid == USER:
                with open(f"/proc/{name}/stat", "rb") as stat:
                    fields = stat.read().rpartition(b")")[2].split()
                cpu_s += sum(map(int, fields[11:15])) / TICKS_PER_S
                resident_bytes += int(fields[21]) * resource.getpagesize()
                is_asleep = is_asleep and fields[0] not in (b"R", b"D")
        except (FileNotFoundError, ProcessLookupError):
            continue
    return cpu_s, resident_bytes, is_asleep


def watch(child: int, limits: dict) -> tuple[str | None, int, resource.struct_rusage, float]:
    """Wait for the end; stop at a limit. Returns the limit, the status, the usage and the CPU seconds seen.

    As in the local server, wall time stops only a program that sleeps: at work, it meets its CPU limit.
    """
    started, stopped, seen_s = time.monotonic(), None, 0.0
    while True:
        pid, status, usage = os.wait4(child, os.WNOHANG)
        if pid:
            return stopped, status, usage, seen_s
        seen_s, resident_bytes, is_asleep = usage_of_user()
        elapsed_s = time.monotonic() - started
        if seen_s >= limits["cpu_s"]:
            stopped = "cpu"
        elif resident_bytes > limits["memory_bytes"]:
            stopped = "memory"
        elif elapsed_s >= limits["wall_s"] and is_asleep:
            stopped = "wall"
        elif elapsed_s >= limits["starved_s"]:
            stopped = "starved"
        if stopped:
            os.kill(child, signal.SIGKILL)
            _, status, usage = os.wait4(child, 0)
            return stopped, status, usage, seen_s
        time.sleep(LOOK_EVERY_S)


def content(descriptor: int) -> str:
    with os.fdopen(descriptor, "rb") as file:
        file.seek(0)
        return base64.b64encode(file.read()).decode()


def run_request(request: dict) -> dict:
    limits, source = request["limits"], request["program"]
    code, failure = server.compile_limited(source, limits)
    if code is None:
        return {"compiled": False, "detail": failure}
    limits["needs_teardown"] = server.needs_teardown(code)
    module, script = program.fresh_module(limits["mode"]), source.encode("utf-8", "surrogatepass")
    files = [os.memfd_create(name) for name in ("in", "out", "result")]
    os.write(files[0], base64.b64decode(request["input"]))
    os.lseek(files[0], 0, os.SEEK_SET)
    remove_user_traces()
    confined, told = os.pipe()
    started = time.monotonic()
    child = kernel.fork()
    if child == 0:
        program.run(code, module, script, limits, files, told, program.Walls(leave_by_user, become_user))
    os.close(told)
    stopped, status, usage, seen_s = watch(child, limits)
    wall_s = time.monotonic() - started
    remove_user_traces()
    with os.fdopen(confined, "rb") as words:
        said = words.read()
    return {
        "compiled": True,
        "confined": said.startswith(program.CONFINED),
        "detail": said.decode("utf-8", "replace"),
        "status": status,
        "stopped": stopped,
        "cpu_s": max(usage.ru_utime + usage.ru_stime, seen_s),
        "wall_s": wall_s,
        "peak_kib": usage.ru_maxrss,
        "output": content(files[1]),
        "result": content(files[2]),
    }


def main() -> None:
    request, answer = json.load(sys.stdin), os.dup(1)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    program.prepare()
    report = json.dumps(run_request(request)).encode()
    while report:
        report = report[os.write(answer, report) :]
