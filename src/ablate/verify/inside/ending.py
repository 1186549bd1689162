"""The end of a program, as CPython ends it."""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import os
import resource
import sys
import types
import weakref

LARGE_KIB = 256 << 10  # with more memory, a list of all objects would count too much
HAVE_GC = 1 << 14  # Py_TPFLAGS_HAVE_GC
# Closing them or collecting them has no effect that a test could see.
SILENT_FILES = frozenset((io.BytesIO, io.StringIO, io.BufferedReader, io.FileIO))
FRAME_OF = {types.GeneratorType: "gi_frame", types.CoroutineType: "cr_frame", types.AsyncGeneratorType: "ag_frame"}


class Mark:
    """Where the garbage collector knows this object, it knows the program's objects too."""


def exit_status(stop: SystemExit) -> int:
    """The status with which CPython ends (handle_system_exit in pythonrun.c)."""
    try:
        code = stop.code
    except BaseException:  # a property of the program's own class
        return 1
    if code is None:
        return 0
    if not issubclass(type(code), int):
        return 1
    number = int.__pos__(code)  # whatever operators its class defines
    return number & 0xFF if -(1 << 63) <= number < 1 << 63 else 0xFF


def finish(status: int, mark: Mark | None) -> None:
    """End as an interpreter does: join threads, run atexit, flush, and let go of all objects.

    The last of these costs as much as all the rest of a small test, so it is left out for programs of which no object
    would act.

    Args:
        mark: None for a plain program, see ``plain.is_plain``.
    """
    if mark is None:
        os._exit(flush_own_streams(status))
    for step in (join_threads, atexit._run_exitfuncs):
        with contextlib.suppress(BaseException):  # the interpreter prints it and keeps the status too
            step()
    if may_act(mark):
        raise SystemExit(status)
    os._exit(flush(status))


def join_threads() -> None:
    if "threading" in sys.modules:
        sys.modules["threading"]._shutdown()


def flush_own_streams(status: int) -> int:
    """As ``flush``, with a fifth fewer pages to copy where a plain program has left the streams as they were."""
    try:
        if sys.stdout is sys.__stdout__ and sys.stderr is sys.__stderr__ and not sys.stdout.closed:
            sys.stdout.flush()
            return status
    except AttributeError:  # it has deleted one
        pass
    except BaseException:
        return 120
    return flush(status)


def flush(status: int) -> int:
    """Flush the standard streams as Py_FinalizeEx does (flush_std_files), and the file that the program replaced."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name, None)
        try:
            if stream is not None and not is_closed(stream):
                stream.flush()
        except BaseException:  # the status that Py_FinalizeEx gives when output cannot be written
            status = 120
    with contextlib.suppress(BaseException):  # its finaliser says nothing either
        sys.__stdout__.flush()
    return status


def is_closed(stream: object) -> bool:
    """An object that cannot say counts as open."""
    try:
        return bool(stream.closed)
    except BaseException:
        return False


def may_act(mark: Mark) -> bool:
    """Could an object that the program made act when the interpreter lets go of it?

    An open file that is written to, an object with ``__del__``, a reference with a callback, or a generator suspended
    inside a ``try`` or ``with``. The garbage collector lists what was made since the server froze its own objects.
    """
    try:
        # Without its name, something else may hold the first standard output.
        if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > LARGE_KIB or not isinstance(
            sys.__stdout__, io.TextIOWrapper
        ):
            return True
        objects = gc.get_objects()
        kinds = set(map(type, objects))
        if type(mark) not in kinds:  # the program has frozen objects too
            return True
        acting = {kind for kind in kinds if issubclass(kind, weakref.ref) or hasattr(kind, "__del__")} - SILENT_FILES
        has_classes = any(issubclass(kind, type) for kind in kinds)
        return (has_classes and any(map(has_hidden_instances, objects))) or (
            bool(acting) and any(type(each) in acting and acts(each) for each in objects)
        )
    except BaseException:  # whatever the program has made of it
        return True


def has_hidden_instances(each: object) -> bool:
    """Whether it is a class with ``__del__`` whose instances the garbage collector does not know."""
    return issubclass(type(each), type) and not each.__flags__ & HAVE_GC and hasattr(each, "__del__")


def acts(each: object) -> bool:
    kind = type(each)
    if issubclass(kind, weakref.ref):
        # Callbacks of the library only keep its own tables.
        return getattr(each.__callback__, "__module__", None) not in (None, "_weakrefset", "weakref")
    if kind in FRAME_OF:
        frame = getattr(each, FRAME_OF[kind])
        return frame is not None and bool(frame.f_code.co_exceptiontable)
    return kind is not io.TextIOWrapper or type(each.buffer) is not io.BufferedReader
