# ruff: noqa: PTH120, SIM115
# pathlib would be one more import in every test process, and the streams opened here outlive their opener.
"""The test process: it confines itself, then runs the program as a fresh ``__main__``."""

from __future__ import annotations

import _sitebuiltins
import _socket
import builtins
import importlib
import json
import os
import sys
import types
from typing import NamedTuple

from ending import Mark, exit_status, finish
from walls import DIRECTORY, PATH, RESULT, BrokenInput, Walls, confine

RECURSION_LIMIT = 65_536  # contest programs recurse 50 000 deep; container.STACK_BYTES is large enough for it
MESSAGE_CHARACTERS = 300
DEFAULT_HOOK = sys.excepthook

# Imported once, so that neither a program nor its prelude waits for them.
WARM = (
    "array bisect cmath collections contextlib copy dataclasses datetime decimal enum fractions functools heapq io "
    "itertools json math operator queue random re statistics string sys time typing"
)


def prepare() -> None:
    """Do once per server, before the first fork, what every test would otherwise do again.

    The random generator and the hash seed start from the same state in every test, so that the same program gets the
    same verdict.
    """
    for name in WARM.split():
        importlib.import_module(name)
    for name in ("exit", "quit"):  # python -S leaves them out
        setattr(builtins, name, _sitebuiltins.Quitter(name, "Ctrl-D (i.e. EOF)"))
    builtins.help = _sitebuiltins._Helper()
    sys.modules["random"].seed(0)
    open_standard_streams()
    reserve_descriptors()
    sys.set_int_max_str_digits(0)
    sys.setrecursionlimit(RECURSION_LIMIT)
    sys.argv = [PATH]
    sys.path[:] = [DIRECTORY, *(entry for entry in sys.path if entry != os.path.dirname(__file__))]


class Prepared(NamedTuple):
    """A program that is ready to run: every test of the rollout starts from the same one."""

    code: types.CodeType
    module: types.ModuleType  # the code runs in it
    source: bytes
    limits: dict  # see ``scoring.limits_of``
    walls: Walls
    mark: Mark | None  # None: the program is plain


def run(prepared: Prepared, descriptors: list[int], told: _socket.socket) -> None:
    """Become the test process. Ends by ``os._exit`` or ``SystemExit``; never returns.

    Args:
        descriptors: the memory files of this test: input, output, result.
        told: the socket on which the watcher is told that the walls stand.
    """
    try:
        arguments = confine(prepared.walls, prepared.source, prepared.limits, descriptors, told)
    except BaseException as error:  # a failure in here is the sandbox's, and must not look like the program's
        kind = "" if isinstance(error, BrokenInput) else f"{type(error).__name__}: "
        told.send(f"{kind}{error}".encode())
        os._exit(1)
    finish(status_of(prepared, arguments), prepared.mark)


def status_of(prepared: Prepared, arguments: list) -> int:
    """Run the program, and in functional mode call its function; return the exit status that it has earned so far.

    Where the interpreter would call a hook of the program, the exception passes, and the interpreter does so.
    """
    try:
        exec(prepared.code, prepared.module.__dict__)
        if prepared.limits["mode"] == "functional":
            value = call_solution(prepared.module.__dict__, prepared.limits["fn_name"], arguments)
            sys.setrecursionlimit(RECURSION_LIMIT)  # the value may be nested more deeply than the program's own limit
            write_result(b"R", value)
    except SystemExit as stop:
        status = exit_status(stop)
        if status:
            leave_note(b"S", status)  # a comparison may count it as a normal end
        return status
    except BaseException as error:  # whatever the program raised is its own failure
        report(error)
        if isinstance(error, KeyboardInterrupt) or getattr(sys, "excepthook", None) is not DEFAULT_HOOK:
            raise
        return 1
    return 0


def open_standard_streams() -> None:
    """Open the streams as CPython's create_stdio does, on empty files; the files of each test will replace them."""
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


def reserve_descriptors() -> None:
    """Occupy the numbers that a test needs, so that none of the files that come for it has one of them."""
    nowhere = os.open("/dev/null", os.O_RDWR)
    if nowhere != RESULT:
        os.dup2(nowhere, RESULT)
        os.close(nowhere)


def fresh_module(mode: str, prelude: str | None) -> types.ModuleType:
    """Make the module that a program will run in; each fork of the process then has its own.

    Args:
        prelude: ``verify.prelude``, which runs in the module first. It is not joined to the program's text, so that the
            program keeps its line numbers and its ``from __future__`` imports.
    """
    module = types.ModuleType("solution" if mode == "functional" else "__main__")
    register(module)
    if prelude is not None:
        exec(prelude, module.__dict__)
        for public in set(vars(module)) & set(vars(builtins)):
            if vars(module)[public] is vars(builtins)[public]:
                del vars(module)[public]  # a program may replace a builtin, and must then see its own
    module.__dict__.update(__builtins__=builtins, __file__=PATH, __annotations__={}, __cached__=None)
    return module


def unfrozen(module: types.ModuleType) -> types.ModuleType:
    """A copy whose names the interpreter's teardown can collect; it cannot collect what ``gc.freeze`` has hidden."""
    copied = types.ModuleType(module.__name__)
    copied.__dict__.update(module.__dict__)
    return copied


def register(module: types.ModuleType) -> None:
    """Make it the module of the program in this process."""
    sys.modules.pop("solution", None)
    sys.modules["__main__"] = types.ModuleType("__main__")
    sys.modules[module.__name__] = module


def call_solution(names: dict, fn_name: str, arguments: list) -> object:
    """Call ``Solution().fn_name`` or the bare function."""
    owner = names.get("Solution")
    function = getattr(owner(), fn_name) if owner is not None and hasattr(owner, fn_name) else names[fn_name]
    return function(*arguments)


def write_result(tag: bytes, value: object) -> None:
    payload = memoryview(tag + json.dumps(value).encode())
    while payload:
        payload = payload[os.write(RESULT, payload) :]


def leave_note(tag: bytes, value: object) -> None:
    """Say in the file of the result why the program ends with a status other than 0."""
    try:
        os.ftruncate(RESULT, 0)
        os.lseek(RESULT, 0, os.SEEK_SET)
        write_result(tag, value)
    except OSError:  # the program closed the file; its status still decides
        return


def report(error: BaseException) -> None:
    """Leave a note for the supervisor; only the status decides, the note is for people."""
    try:
        message = str(error)[:MESSAGE_CHARACTERS]
    except BaseException:  # the program may define __str__ itself
        message = ""
    try:
        leave_note(b"M" if isinstance(error, MemoryError) else b"E", f"{type(error).__name__}: {message}")
    except BaseException:
        return
