"""The walls of a test: what its process gives up, in which order, before the first line of the program runs."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import kernel

DIRECTORY = "/tmp"
PATH = "/tmp/main.py"
OPEN_FILES = 256
TMPFS_OPTIONS = b"size=%d,nr_inodes=%d,mode=755"
TMPFS_FILES = 4096
RESULT, TOLD = 3, 4
NOWHERE = RESULT  # leads to /dev/null until the file of a test's result takes its number
CONFINED = b"confined"

seccomp: list[kernel.FilterProgram] = []  # made once by each server, before the first fork


class Walls(NamedTuple):
    """The two steps that separate a test from everything else; its files are put in place between them."""

    leave_the_others: Callable[[], None]
    give_up_rights: Callable[[], None]


ENTER = [
    kernel.Call("setsid", kernel.libc.setsid, ()),  # else kill(0, ...) would reach the process group of the server
    kernel.prctl_call(kernel.PR_SET_PDEATHSIG, 9),
    # The test may read its own /proc/self; the server stays closed to it.
    kernel.prctl_call(kernel.PR_SET_DUMPABLE, 1),
]


def namespaces(limits: dict) -> Walls:
    """The walls of a test that shares its kernel with this process, for all tests of one program."""
    flags = kernel.MS_NOSUID | kernel.MS_NODEV
    # Read-only, because a test that lowers its own oom_score_adj could make the kernel kill the server in its place.
    proc_flags = flags | kernel.MS_NOEXEC | kernel.MS_RDONLY
    leave = [
        kernel.unshare_call(kernel.CLONE_NEWNS | kernel.CLONE_NEWIPC),
        kernel.mount_call(b"tmpfs", b"/tmp", b"tmpfs", flags, TMPFS_OPTIONS % (limits["disk_bytes"], TMPFS_FILES)),
        kernel.mount_call(b"proc", b"/proc", b"proc", proc_flags, b"subset=pid,hidepid=2"),
    ]
    give_up = [*kernel.calls_to_drop_capabilities(), kernel.filter_call(seccomp[0])]
    return Walls(partial(kernel.make, leave), partial(kernel.make, give_up))


def write_file(path: str, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    os.write(descriptor, content)
    os.close(descriptor)


def confine(walls: Walls, source: bytes, limits: dict, descriptors: list[int], told: int) -> list[bytes]:
    """Give up every right and every view of other processes.

    Args:
        source: the program's text, which it may read as its own file.
        limits: see ``scoring.limits_of``.
        descriptors: the memory files of this test: input, output, result.
        told: the pipe on which the server is told that the walls stand.

    Returns:
        The argument lines of functional mode, else nothing.
    """
    kernel.make(ENTER)
    write_file("/proc/self/oom_score_adj", b"1000")  # out of memory, the kernel kills the test and not the server
    walls.leave_the_others()
    os.chdir(DIRECTORY)
    write_file(PATH, source)
    arguments = arrange_descriptors(descriptors, limits["mode"] == "functional", told)
    limit_resources(limits)
    walls.give_up_rights()
    os.write(TOLD, CONFINED + repr(time.monotonic()).encode())
    os.close(TOLD)
    return arguments


def arrange_descriptors(descriptors: list[int], functional: bool, told: int) -> list[bytes]:
    """Leave open 0 (input), 1 (output), 2 (nowhere), 3 (result) and ``told``; in functional mode 0 and 1 lead nowhere.

    No descriptor that it is given is one of these numbers, see ``program.reserve_descriptors``.

    Returns:
        The argument lines of functional mode, else nothing.
    """
    source, output, result = descriptors
    arguments = []
    if functional:
        with os.fdopen(source, "rb", closefd=False) as lines:
            arguments = lines.read().split(b"\n")
    os.dup2(NOWHERE, 2)
    os.dup2(NOWHERE if functional else source, 0)
    os.dup2(NOWHERE if functional else output, 1)
    os.dup2(result, RESULT)  # NOWHERE has this number until now
    os.dup2(told, TOLD)
    os.closerange(TOLD + 1, 1024)  # all that the server had open, above all its channel to the supervisor
    return arguments


def limit_resources(limits: dict) -> None:
    cpu_s = int(limits["cpu_s"]) + 2  # the watcher stops a test at the exact limit; this holds if the watcher starves
    file_bytes = limits["output_bytes"] + 1  # one byte above the limit shows that the program wanted more
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
