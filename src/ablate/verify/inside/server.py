# ruff: noqa: PTH123, PTH208
# pathlib would be one more import in every test process.
"""The fork server: one warm interpreter per worker, alone in a bubblewrap container.

server (whole life) -> program process (one rollout: compiles, starts tests) -> test process (user code).

Commands arrive on one SOCK_SEQPACKET socket together with file descriptors; inputs and outputs travel only as memory
files which the judge made, so neither the server nor the program process ever holds a test's text.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import select
import signal
import socket
import sys
import time
import types

import kernel
import program

COMPILE_MARGIN_S = 2.0
OWN_PID_NAMESPACE = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
NUM_CORES = os.cpu_count() or 1
MAX_MESSAGE = 65536
# Through these names a program may come to hold an unflushed file or an object with a finaliser.
FINALISERS = (
    "open fdopen io FileIO TextIOWrapper BufferedWriter BufferedRandom codecs tempfile gzip bz2 lzma zipfile tarfile "
    "subprocess multiprocessing concurrent asyncio fileinput makefile weakref __del__ finalize exec eval compile "
    "getattr __import__ __builtins__ builtins importlib runpy ctypes setattr"
)


def receive(channel: socket.socket) -> tuple[dict, list[int]]:
    message, descriptors, _, _ = socket.recv_fds(channel, MAX_MESSAGE, 8)
    if not message:
        os._exit(0)  # the judge is gone
    return json.loads(message), descriptors


def send(channel: socket.socket, **answer: object) -> None:
    channel.send(json.dumps(answer).encode())


def serve(channel: socket.socket) -> None:
    """Start one program process per rollout, one at a time; report one that died without a word."""
    send(channel, ready=True)
    while True:
        command, descriptors = receive(channel)
        source = os.fdopen(descriptors[0], "rb").read().decode("utf-8", "surrogatepass")
        child = os.fork()
        if child == 0:
            kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
            program_process(channel, command, source)
            os._exit(0)
        del source
        _, status = os.waitpid(child, 0)
        if status:
            send(channel, died=status)


def program_process(channel: socket.socket, limits: dict, source: str) -> None:
    code, failure = compile_limited(source, limits)
    if code is not None:
        limits["needs_teardown"] = needs_teardown(code)
        module, script = program.fresh_module(limits["mode"]), source.encode("utf-8", "surrogatepass")
    send(channel, compiled=failure is None, detail=failure)
    if failure is not None:
        return
    while True:
        command, descriptors = receive(channel)
        if command["op"] != "test":
            return
        send(channel, **run_test(channel, (code, module, script, limits), descriptors))


def compile_limited(source: str, limits: dict) -> tuple[types.CodeType | None, str | None]:
    """Compile under the test's own limits: source text can cost time and memory too. A signal here ends the process."""
    saved = {kind: resource.getrlimit(kind) for kind in (resource.RLIMIT_CPU, resource.RLIMIT_AS)}
    used_s = time.process_time()
    cpu_s = int(used_s + limits["cpu_s"] + COMPILE_MARGIN_S)
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, saved[resource.RLIMIT_CPU][1]))
    resource.setrlimit(resource.RLIMIT_AS, (limits["address_space_bytes"], saved[resource.RLIMIT_AS][1]))
    try:
        code = compile(source.removeprefix("\ufeff"), program.PATH, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        return None, f"{type(error).__name__}: {error}"[:400]
    for kind, pair in saved.items():
        resource.setrlimit(kind, pair)
    return code, None


def needs_teardown(code: types.CodeType) -> bool:
    """Could the program hold an object that acts when the interpreter is taken down (an open file, ``__del__``)?"""
    names = set(code.co_names)
    if not names.isdisjoint(FINALISERS.split()):
        return True
    return any(needs_teardown(inner) for inner in code.co_consts if isinstance(inner, types.CodeType))


def run_test(channel: socket.socket, prepared: tuple, descriptors: list[int]) -> dict:
    """Run one test in a process of its own, first in a PID namespace of its own, and see it end."""
    kernel.setns(OWN_PID_NAMESPACE, kernel.CLONE_NEWPID)  # unshare below moved us away for the test before
    kernel.unshare(kernel.CLONE_NEWPID)
    started = time.monotonic()
    confined, told = os.pipe()
    limits = prepared[-1]
    # Not os.fork: its hooks (threading's, random's) cost a third of a small test and have nothing to mend in a process
    # without threads.
    child = kernel.fork()
    if child == 0:
        channel.detach()  # its number is closed soon, and may then be a file of the program's
        program.run(*prepared, descriptors, told)
    for descriptor in (*descriptors, told):
        os.close(descriptor)
    watched = watch(child, limits, started)
    _, status, usage = os.wait4(child, 0)
    with os.fdopen(confined, "rb") as words:
        confinement = words.read()
    return {
        # Said before the program's first line, through a pipe closed by then: nobody else can say or unsay it.
        "confined": confinement == program.CONFINED,
        "detail": "" if confinement == program.CONFINED else confinement.decode("utf-8", "replace"),
        "status": status,
        "cpu_s": max(usage.ru_utime + usage.ru_stime, watched["namespace_cpu_s"]),
        "wall_s": time.monotonic() - started,
        "peak_kib": usage.ru_maxrss,
        **watched,
    }


def watch(child: int, limits: dict, started: float) -> dict:
    """Wait for the test's first process, whose end is the end of its namespace; stop it at a limit.

    Wall time counts without the time the process waited for a processor: that the machine is busy is not its fault.
    """
    handle = os.pidfd_open(child)
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    stopped, used_s, run_wait_s = None, 0.0, 0.0
    try:
        while stopped is None:
            left_s = started + limits["wall_s"] + run_wait_s - time.monotonic()
            pause_s = min(max((limits["cpu_s"] - used_s) / NUM_CORES, 0.005), max(left_s, 0.0), limits["look_every_s"])
            if poll.poll(pause_s * 1000 + 1):
                break
            used_s, resident_bytes = usage_of_namespace()
            run_wait_s = run_queue_wait_s(child)
            elapsed_s = time.monotonic() - started
            if used_s >= limits["cpu_s"]:
                stopped = "cpu"
            elif resident_bytes > limits["memory_bytes"]:
                stopped = "memory"
            elif elapsed_s - run_wait_s >= limits["wall_s"]:
                stopped = "wall"
            elif elapsed_s >= limits["starved_s"]:
                stopped = "starved"
        if stopped:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    finally:
        os.close(handle)
    return {"stopped": stopped, "namespace_cpu_s": used_s, "run_wait_s": run_wait_s}


def usage_of_namespace() -> tuple[float, int]:
    """CPU seconds and resident bytes of all processes of the running test: all we see but ourselves and above."""
    cpu_s, resident_bytes = 0.0, 0
    not_of_the_test = {"1", str(os.getppid()), str(os.getpid())}
    for name in os.listdir("/proc"):
        if not name.isdigit() or name in not_of_the_test:
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as stat, open(f"/proc/{name}/statm", "rb") as statm:
                fields = stat.read().rpartition(b")")[2].split()
                resident_bytes += int(statm.read().split()[1]) * 4096
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended between the listing and the look
        cpu_s += sum(map(int, fields[11:15])) / TICKS_PER_S  # utime stime cutime cstime
    return cpu_s, resident_bytes


def run_queue_wait_s(child: int) -> float:
    """Seconds the test's first process was ready to run while others had the processors."""
    try:
        with open(f"/proc/{child}/schedstat", "rb") as stat:
            return int(stat.read().split()[1]) / 1e9
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


def main() -> None:
    channel = socket.socket(fileno=int(sys.argv[1]))
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    kernel.set_default_thread_stack(8 << 20)
    program.prepare()
    gc.collect()
    gc.freeze()  # a collection in a test then leaves the pages it shares with us alone
    serve(channel)


if __name__ == "__main__":
    main()
