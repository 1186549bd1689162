# ruff: noqa: PTH120, SIM115
# pathlib would be one more import in every test process, and the streams opened here outlive their opener.
"""The test process: closes every door behind itself, then runs the program as a fresh ``__main__``."""

from __future__ import annotations

import _sitebuiltins
import atexit
import builtins
import fcntl
import importlib
import json
import os
import resource
import sys
import threading
import time
import types
from collections.abc import Callable
from typing import NamedTuple

import kernel

DIRECTORY = "/tmp"
PATH = "/tmp/main.py"
RECURSION_LIMIT = 65_536  # contest programs recurse 50 000 deep; the stack limit below carries it
OPEN_FILES = 256
TMPFS_OPTIONS = b"size=%d,nr_inodes=%d,mode=755"
TMPFS_FILES = 4096
RESULT, TOLD = 3, 4
CONFINED = b"confined"
MESSAGE_CHARACTERS = 300

# LiveCodeBench's import string (lcb_runner/evaluation/testing_util.py), in its order.
PLAIN_IMPORTS = (
    "string re datetime collections heapq bisect copy math random statistics itertools functools operator io sys json"
)
STAR_IMPORTS = f"{PLAIN_IMPORTS} builtins typing"
ALSO_WARM = "array cmath contextlib dataclasses decimal enum fractions queue time"

prelude: dict[str, object] = {}
seccomp: list[kernel.FilterProgram] = []


def prepare() -> None:
    """Once per worker, before the first fork: whatever every test would otherwise pay for.

    Random starts from the same state in every test, as the hash seed does: the same program gets the same verdict.
    """
    for name in STAR_IMPORTS.split():
        module = importlib.import_module(name)
        for public in getattr(module, "__all__", None) or [key for key in vars(module) if not key.startswith("_")]:
            prelude[public] = getattr(module, public)
    for name in PLAIN_IMPORTS.split():
        prelude[name] = importlib.import_module(name)
    for name in ALSO_WARM.split():
        importlib.import_module(name)
    for name in set(prelude) & set(vars(builtins)):  # the builtins themselves: a program may replace them in builtins
        del prelude[name]
    for name in ("exit", "quit"):  # python -S leaves them out
        setattr(builtins, name, _sitebuiltins.Quitter(name, "Ctrl-D (i.e. EOF)"))
    builtins.help = _sitebuiltins._Helper()
    sys.modules["random"].seed(0)
    open_standard_streams()
    sys.set_int_max_str_digits(0)
    sys.setrecursionlimit(RECURSION_LIMIT)
    sys.argv = [PATH]
    sys.path[:] = [DIRECTORY, *(entry for entry in sys.path if entry != os.path.dirname(__file__))]
    seccomp.append(kernel.load_filter())


class Walls(NamedTuple):
    """What separates a test from everything else, in the two steps between which its files are put in place."""

    leave_the_others: Callable[[dict], None]
    give_up_rights: Callable[[], None]


def leave_by_namespaces(limits: dict) -> None:
    flags = kernel.MS_NOSUID | kernel.MS_NODEV
    kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWIPC)
    kernel.mount(b"tmpfs", b"/tmp", b"tmpfs", flags, TMPFS_OPTIONS % (limits["disk_bytes"], TMPFS_FILES))
    # Read-only: a test that lowered its own oom_score_adj could have the kernel end the server in its place.
    kernel.mount(b"proc", b"/proc", b"proc", flags | kernel.MS_NOEXEC | kernel.MS_RDONLY, b"subset=pid,hidepid=2")


def drop_and_filter() -> None:
    kernel.drop_capabilities()
    kernel.install_filter(seccomp[0])


NAMESPACES = Walls(leave_by_namespaces, drop_and_filter)


def run(
    code: types.CodeType,
    module: types.ModuleType,
    source: bytes,
    limits: dict,
    descriptors: list[int],
    told: int,
    walls: Walls = NAMESPACES,
) -> None:
    """Become the test process. Ends by ``os._exit`` or ``SystemExit``; never returns.

    ``descriptors`` are the memory files of this test alone: input, output, result. ``told`` is the pipe on which the
    server hears that the walls stand.
    """
    functional = limits["mode"] == "functional"
    try:
        arguments = confine(walls, source, limits, descriptors, functional, told)
    except BaseException as error:  # any failure here is the sandbox's own and must not look like the program's
        os.write(told, f"{type(error).__name__}: {error}".encode())
        os._exit(1)
    status = 0
    try:
        exec(code, module.__dict__)
        if functional:
            write_result(b"R", call_solution(module.__dict__, limits["fn_name"], arguments))
    except SystemExit as stop:
        status = exit_status(stop.code)
    except BaseException as error:  # whatever the program raised is its own
        status = 1
        report(error)
    finish(status, needs_teardown=limits["needs_teardown"])


def write_file(path: str, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    os.write(descriptor, content)
    os.close(descriptor)


def confine(
    walls: Walls, source: bytes, limits: dict, descriptors: list[int], functional: bool, told: int
) -> list[bytes]:
    """Give up every right and every view of others; return functional mode's argument lines."""
    os.setsid()  # kill(0, ...) would reach the server's process group
    kernel.prctl(kernel.PR_SET_PDEATHSIG, 9)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1)  # its own /proc/self is its own; the server above stays closed
    write_file("/proc/self/oom_score_adj", b"1000")  # out of memory, the kernel ends the test and not the server
    walls.leave_the_others(limits)
    os.chdir(DIRECTORY)
    write_file(PATH, source)
    arguments = arrange_descriptors(descriptors, functional, told)
    limit_resources(limits)
    walls.give_up_rights()
    os.write(TOLD, CONFINED + repr(time.monotonic()).encode())
    os.close(TOLD)
    return arguments


def arrange_descriptors(descriptors: list[int], functional: bool, told: int) -> list[bytes]:
    """0 input, 1 output, 2 nowhere, 3 result, and not one more; in functional mode 0 and 1 lead nowhere too."""
    source, output, result, told = (fcntl.fcntl(descriptor, fcntl.F_DUPFD, 64) for descriptor in (*descriptors, told))
    arguments = []
    if functional:
        with os.fdopen(source, "rb", closefd=False) as lines:
            arguments = lines.read().split(b"\n")
    nowhere = os.open("/dev/null", os.O_RDWR)
    os.dup2(nowhere if functional else source, 0)
    os.dup2(nowhere if functional else output, 1)
    os.dup2(nowhere, 2)
    os.dup2(result, RESULT)
    os.dup2(told, TOLD)
    os.closerange(TOLD + 1, 1024)  # whatever the server had: above all its channel to the supervisor
    return arguments


def limit_resources(limits: dict) -> None:
    cpu_s = int(limits["cpu_s"]) + 2  # the server stops it at the exact limit; this is for a server that starves
    file_bytes = limits["output_bytes"] + 1  # one more than allowed shows that it wanted more
    for kind, value in (
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_AS, limits["address_space_bytes"]),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_NPROC, limits["max_processes"]),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        resource.setrlimit(kind, (value, value))


def open_standard_streams() -> None:
    """As CPython's create_stdio does, over empty memory files whose places each test's own will take."""
    for number in (0, 1):
        descriptor = os.memfd_create("stream")
        os.dup2(descriptor, number)
        os.close(descriptor)
    text = {"encoding": "utf-8", "errors": "surrogateescape", "newline": "\n", "closefd": False}
    sys.stdin = sys.__stdin__ = open(0, **text)
    sys.stdout = sys.__stdout__ = open(1, "w", **text)
    sys.stderr = sys.__stderr__ = open(2, "w", **{**text, "errors": "backslashreplace"})
    for name, stream in (("stdin", sys.stdin), ("stdout", sys.stdout), ("stderr", sys.stderr)):
        stream.buffer.raw.name = f"<{name}>"
        stream.mode = "r" if name == "stdin" else "w"


def fresh_module(mode: str) -> types.ModuleType:
    """The module a program will run in: made once per rollout, copied into every test by the fork."""
    name = "solution" if mode == "functional" else "__main__"
    sys.modules["__main__"] = types.ModuleType("__main__")
    module = sys.modules[name] = types.ModuleType(name)
    module.__dict__.update(prelude)
    module.__dict__.update(__builtins__=builtins, __file__=PATH, __annotations__={}, __cached__=None)
    return module


def call_solution(names: dict, fn_name: str, lines: list[bytes]) -> object:
    """Call ``Solution().fn_name`` or the bare function with one JSON value per line."""
    arguments = [json.loads(line) for line in lines if line.strip()]
    owner = names.get("Solution")
    function = getattr(owner(), fn_name) if owner is not None and hasattr(owner, fn_name) else names[fn_name]
    return function(*arguments)


def write_result(tag: bytes, value: object) -> None:
    payload = memoryview(tag + json.dumps(value).encode())
    while payload:
        payload = payload[os.write(RESULT, payload) :]


def exit_status(code: object) -> int:
    if code is None:
        return 0
    return int(code) & 0xFF if isinstance(code, int) else 1


def report(error: BaseException) -> None:
    """Leave a note for the supervisor and let a program's own excepthook speak, as at a normal end."""
    try:
        message = str(error)[:MESSAGE_CHARACTERS]
    except BaseException:  # a __str__ of the program's own
        message = ""
    try:
        if sys.excepthook is not sys.__excepthook__:
            sys.excepthook(type(error), error, error.__traceback__)
        os.ftruncate(RESULT, 0)
        os.lseek(RESULT, 0, os.SEEK_SET)
        write_result(b"M" if isinstance(error, MemoryError) else b"E", f"{type(error).__name__}: {message}")
    except BaseException:  # the note is a courtesy; the status alone decides
        return


def finish(status: int, needs_teardown: bool) -> None:
    """End as an interpreter does: join threads, run atexit, flush. A bare ``os._exit`` would skip all three.

    The interpreter's own teardown costs as much as the whole rest of a small test, so it runs only for programs that
    use a name through which an object with a finaliser can come to be.
    """
    if needs_teardown:
        raise SystemExit(status)
    try:
        threading._shutdown()
        atexit._run_exitfuncs()
    except BaseException:  # printed and forgotten by the interpreter too; the status stays
        pass
    try:
        if sys.stdout is not None and not sys.stdout.closed:
            sys.stdout.flush()
        if sys.__stdout__ is not None and not sys.__stdout__.closed:
            sys.__stdout__.flush()
    except BaseException:  # what Py_FinalizeEx answers to output that cannot be written
        status = status or 120
    os._exit(status)
