# ruff: noqa: PTH108, PTH211 -- pathlib would be one more import in every test process
"""The walls of a test: what its process gives up, in which order, before the first line of the program runs."""

from __future__ import annotations

import _socket  # not socket: that module's pages would be copied for every test
import json
import os
import resource
import struct
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import kernel
import syscall_filter
from test_report import BROKEN_INPUT

DIRECTORY = "/tmp"
PATH = "/tmp/main.py"
OPEN_FILES = 256
QUEUED_SIGNALS = 256  # also timers; the kernel counts them for the user who started the sandbox
FILE_OUTPUT = 63  # in file mode; no descriptor that a test is given has so high a number
TMPFS_OPTIONS = b"size=%d,nr_inodes=%d,mode=755"
TMPFS_FILES = 4096
RESULT = 3
CONFINED = b"confined"
HOLDING = b"holding"
SO_PEEK_OFF = 42
MAX_WORDS = 1000


class BrokenInput(Exception):
    """The input of a test is not what its mode needs."""


seccomp: list[syscall_filter.FilterProgram] = []  # made once by each server, before the first fork


class Walls(NamedTuple):
    """The two steps that separate a test from everything else; its files are put in place between them."""

    leave_the_others: Callable[[], list[int]]  # returns descriptors that the watcher shall hold while the test lives
    give_up_rights: Callable[[], None]
    limits: list[kernel.Call]


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
    home = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    build = [
        kernel.unshare_call(kernel.CLONE_NEWNS | kernel.CLONE_NEWIPC),
        kernel.mount_call(b"tmpfs", b"/tmp", b"tmpfs", flags, TMPFS_OPTIONS % (limits["disk_bytes"], TMPFS_FILES)),
        kernel.mount_call(b"proc", b"/proc", b"proc", proc_flags, b"subset=pid,hidepid=2"),
    ]
    go_home = [kernel.Call("setns", kernel.libc.setns, (home, kernel.CLONE_NEWNS))]
    give_up = [*kernel.calls_to_drop_capabilities(), kernel.filter_call(seccomp[0])]
    return Walls(partial(leave_by_namespaces, build, go_home), partial(kernel.make, give_up), calls_to_limit(limits))


def leave_by_namespaces(build: list[kernel.Call], go_home: list[kernel.Call]) -> list[int]:
    """Make a mount namespace for the test and live in its files, but as a member of another namespace.

    /proc/self/mountinfo lists the mounts of the namespace whose member a process is, with their paths on the host, and
    leaves out those that lie outside its root. So the list is empty.

    Returns:
        The descriptor that keeps the namespace, which has no member.
    """
    kernel.make(build)
    root, own = os.open("/", os.O_PATH), os.open("/proc/self/ns/mnt", os.O_RDONLY)
    kernel.make(go_home)
    os.fchdir(root)
    os.chroot(".")
    return [own]


def write_file(path: str, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    os.write(descriptor, content)
    os.close(descriptor)


def confine(walls: Walls, source: bytes, limits: dict, descriptors: list[int], told: _socket.socket) -> list:
    """Give up every right and every view of other processes.

    Args:
        source: the program's text, which it may read as its own file.
        limits: see ``scoring.limits_of``.
        descriptors: the memory files of this test: input, output, result.
        told: the socket on which the watcher is told that the walls stand. It is closed before the program begins.

    Returns:
        The arguments of functional mode, else nothing.

    Raises:
        BrokenInput: for an argument that is not JSON.
    """
    kernel.make(ENTER)
    write_file("/proc/self/oom_score_adj", b"1000")  # out of memory, the kernel kills the test and not the server
    held = walls.leave_the_others()
    os.chdir(DIRECTORY)
    write_file(PATH, source)
    arguments = arrange_descriptors(descriptors, limits["mode"])
    kernel.make(walls.limits)
    if held:
        hold(told, held)
    walls.give_up_rights()
    told.send(CONFINED + repr(time.monotonic()).encode())
    told.detach()
    os.closerange(RESULT + 1, FILE_OUTPUT)
    os.closerange(
        FILE_OUTPUT + (limits["mode"] == "file"), 1024
    )  # all that the server had open, above all its channel to the supervisor
    return arguments


def pair_for_words() -> tuple[_socket.socket, _socket.socket]:
    """Where the watcher hears a test, and where the test tells that its walls stand, or why not."""
    words, told = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    words.setblocking(False)
    return words, told


def arguments_in(source: int) -> list:
    """The JSON values, one per line, in a file that stays open."""
    with os.fdopen(source, "rb", closefd=False) as lines:
        try:
            return [json.loads(line) for line in lines if line.strip()]
        except ValueError as error:
            raise BrokenInput(f"{BROKEN_INPUT}: {error}") from None


def hold(told: _socket.socket, held: list[int]) -> None:
    """Send descriptors that stay open in the socket, where nobody takes them out, until the watcher closes it.

    This comes before the walls are complete: behind them, no descriptor can be sent.
    """
    numbers = b"".join(number.to_bytes(4, "little") for number in held)
    told.sendmsg([HOLDING], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, numbers)])


def heard(words: _socket.socket) -> bytes:
    """What the test has just said; every message stays in the socket, and with it what it holds."""
    said = peek(words)
    if said == HOLDING:
        words.setsockopt(_socket.SOL_SOCKET, SO_PEEK_OFF, len(HOLDING))  # from now on, look behind it
        said = peek(words)
    return said


def peek(words: _socket.socket) -> bytes:
    try:
        return words.recv(MAX_WORDS, _socket.MSG_PEEK)
    except BlockingIOError:  # it has not said it yet
        return b""


def arrange_descriptors(descriptors: list[int], mode: str) -> list:
    """Put 0 (input), 1 (output), 2 (nowhere) and 3 (result) in place; in functional mode 0 and 1 lead nowhere.

    In file mode 1 leads nowhere, and the files input.txt and output.txt are the test's input and output.

    No descriptor that it is given is one of these numbers, see ``program.reserve_descriptors``. /dev/null is opened for
    this test: a lock or a flag on an open file would last for all that share it.

    Returns:
        The arguments of functional mode, else nothing.
    """
    source, output, result = descriptors
    nowhere = os.open("/dev/null", os.O_RDWR)
    functional = mode == "functional"
    arguments = arguments_in(source) if functional else []
    given, taken = (nowhere, nowhere) if functional else (source, output)
    if mode == "file":
        os.dup2(output, FILE_OUTPUT)
        taken = nowhere
        for name, number in (("input.txt", 0), ("output.txt", FILE_OUTPUT)):
            if os.path.lexists(name):  # of the test before, where all tests share a directory
                os.unlink(name)
            os.symlink(f"/proc/self/fd/{number}", name)
    for number, target in enumerate((given, taken, nowhere, result)):
        os.dup2(target, number)
    return arguments


def calls_to_limit(limits: dict) -> list[kernel.Call]:
    """The limits of ``scoring.limits_of`` that the kernel keeps."""
    cpu_s = int(limits["cpu_s"]) + 2  # the watcher stops a test at the exact limit; this holds if the watcher starves
    file_bytes = max(limits["output_bytes"], limits["disk_bytes"]) + 1  # one byte shows that the program wanted more
    values = {
        resource.RLIMIT_CPU: cpu_s,
        resource.RLIMIT_AS: limits["address_space_bytes"],
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_NPROC: limits["max_processes"],
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_SIGPENDING: QUEUED_SIGNALS,
    }
    return [
        kernel.Call("setrlimit", kernel.libc.setrlimit, (kind, struct.pack("QQ", value, value)))
        for kind, value in values.items()
    ]
