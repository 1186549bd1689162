# ruff: noqa: PTH123, PTH208
# pathlib would be one more import in every test process.
"""The fork server: one warm interpreter per worker, alone in a bubblewrap container.

server (whole life) -> program process (one rollout: compiles, starts tests) -> test process (user code).

Commands arrive on one SOCK_SEQPACKET socket together with file descriptors; inputs and outputs travel only as memory
files which the judge made, so neither the server nor the program process ever holds a test's text.
"""

from __future__ import annotations

import gc
import io
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
SHORTEST_PAUSE_S = 0.005
OWN_SHARE = 0.5  # of a test's whole time: with less the machine and not the program is why it did not end
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
        child = fork_into_new_namespace()
        if child == 0:
            enclose()
            program_process(channel, command, source)
            os._exit(0)
        del source
        _, status = os.waitpid(child, 0)
        if status:
            send(channel, died=status)


def fork_into_new_namespace() -> int:
    """Fork a process that is the first of a PID namespace of its own."""
    # A second unshare is refused while our children would go elsewhere, so come home first.
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    kernel.setns(own, kernel.CLONE_NEWPID)
    os.close(own)
    kernel.unshare(kernel.CLONE_NEWPID)
    # Not os.fork: its hooks (threading's, random's) cost a third of a small test and have nothing to mend in a process
    # without threads.
    return kernel.fork()


def enclose() -> None:
    """Make the rollout's own container: it sees no process but its own, and nothing of it stays."""
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWIPC)
    kernel.mount(b"proc", b"/proc", b"proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)


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
    started = time.monotonic()
    confined, told = os.pipe2(os.O_NONBLOCK)
    limits = prepared[-1]
    child = fork_into_new_namespace()
    if child == 0:
        channel.detach()  # its number is closed soon, and may then be a file of the program's
        program.run(*prepared, descriptors, told)
    for descriptor in (*descriptors, told):
        os.close(descriptor)
    with os.fdopen(confined, "rb", buffering=0) as words:
        test = RunningTest(child, words, limits)
        stopped = test.watch()
        _, status, usage = os.wait4(child, 0)
        test.hear()
    return {
        "confined": test.began is not None,
        "detail": test.complaint,
        "status": status,
        "stopped": stopped,
        "cpu_s": max(usage.ru_utime + usage.ru_stime, test.used_s),
        "wall_s": time.monotonic() - started,
        "peak_kib": usage.ru_maxrss,
        "run_wait_s": test.run_wait_s,
    }


class RunningTest:
    """One test's first process, whose end is the end of its namespace, and what it has used so far."""

    def __init__(self, child: int, words: io.FileIO, limits: dict) -> None:
        self.child = child
        self.words = words
        self.limits = limits
        self.forked = time.monotonic()
        self.began: float | None = None  # when its walls stood and the program's first line ran
        self.complaint = ""
        self.used_s = self.run_wait_s = 0.0

    def hear(self) -> None:
        """Read what the process said before the program's first line, on a pipe that was closed by then.

        Nobody else can say or unsay it.
        """
        said = self.words.read(1000) or b""
        if said.startswith(program.CONFINED):
            self.began = float(said.removeprefix(program.CONFINED))
        elif said:
            self.complaint = said.decode("utf-8", "replace")

    def watch(self) -> str | None:
        """Wait for the end; stop the test at a limit and return which, or None."""
        handle = os.pidfd_open(self.child)
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        stopped, pause_s = None, min(self.limits["cpu_s"] / NUM_CORES, self.limits["look_every_s"])
        try:
            while stopped is None and not poll.poll(pause_s * 1000 + 1):
                stopped, pause_s = self.look()
            if stopped:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            os.close(handle)
        return stopped

    def look(self) -> tuple[str | None, float]:
        """Which limit the test has reached, if any, and for how long nobody needs to look again.

        Wall time counts from the program's first line, without the time it waited for a processor, and stops only a
        program that sleeps: a busy machine or a blocking kernel is not its fault.
        """
        if self.began is None:
            self.hear()
        self.used_s, resident_bytes, is_asleep = usage_of_namespace()
        self.run_wait_s = run_queue_wait_s(self.child)
        elapsed_s = time.monotonic() - self.forked
        own_s = 0.0 if self.began is None else time.monotonic() - self.began - self.run_wait_s
        if self.used_s >= self.limits["cpu_s"]:
            return "cpu", 0.0
        # Pages that forks share count in each of them, so a sum above the limit is looked at twice.
        if resident_bytes > self.limits["memory_bytes"] and proportional_bytes() > self.limits["memory_bytes"]:
            return "memory", 0.0
        if own_s >= self.limits["wall_s"] and is_asleep:
            return "wall", 0.0
        if elapsed_s >= self.limits["starved_s"]:
            return "starved" if own_s < elapsed_s * OWN_SHARE else "wall", 0.0
        left_s = self.limits["wall_s"] - own_s
        pause_s = min((self.limits["cpu_s"] - self.used_s) / NUM_CORES, left_s, self.limits["look_every_s"])
        return None, max(pause_s, SHORTEST_PAUSE_S)


def usage_of_namespace() -> tuple[float, int, bool]:
    """CPU seconds, resident bytes and idleness of the running test: of every process here but ourselves."""
    cpu_s, resident_bytes, is_asleep = 0.0, 0, True
    for name in os.listdir("/proc"):
        if not name.isdigit() or name == "1":  # ourselves
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as stat, open(f"/proc/{name}/statm", "rb") as statm:
                fields = stat.read().rpartition(b")")[2].split()
                resident_bytes += int(statm.read().split()[1]) * resource.getpagesize()
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended between the listing and the look
        is_asleep = is_asleep and fields[0] not in (b"R", b"D")
        cpu_s += sum(map(int, fields[11:15])) / TICKS_PER_S  # utime stime cutime cstime
    return cpu_s, resident_bytes, is_asleep


def proportional_bytes() -> int:
    """Memory of every process here but ourselves, a page shared by n of them counted 1/n in each."""
    total = 0
    for name in os.listdir("/proc"):
        if not name.isdigit() or name == "1":
            continue
        try:
            with open(f"/proc/{name}/smaps_rollup", "rb") as rows:
                total += next(int(row.split()[1]) * 1024 for row in rows if row.startswith(b"Pss:"))
        except (FileNotFoundError, ProcessLookupError):
            continue
        except PermissionError:  # it has closed itself to readers
            with open(f"/proc/{name}/statm", "rb") as sizes:
                total += int(sizes.read().split()[1]) * resource.getpagesize()
    return total


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
