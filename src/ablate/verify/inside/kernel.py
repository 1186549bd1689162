"""Linux calls that the standard library of Python 3.11 lacks."""

from __future__ import annotations

import ctypes
import os
import signal
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWPID = 0x20000, 0x08000000, 0x20000000
CLONE_VM = 0x100
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 0x20, 0x1000, 0x4000, 0x40000
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP = 1, 4, 22, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 36, 38
CAP_SETPCAP, CAP_SYS_CHROOT, CAP_SYS_ADMIN = 8, 18, 21

DEVICES = {"/dev/null": 3, "/dev/zero": 5, "/dev/full": 7, "/dev/random": 8, "/dev/urandom": 9}  # minor, of major 1

libc = ctypes.CDLL(None, use_errno=True)
libc_holding_the_lock = ctypes.PyDLL(None, use_errno=True)


class Call(NamedTuple):
    """A call of the C library, ready to be made.

    A forked process must copy every page that it writes to, and Python writes to most of what it looks at. So the test
    process makes calls that its parent has prepared.
    """

    name: str
    function: Callable[..., int]
    arguments: tuple[object, ...]


def make(calls: Sequence[Call]) -> None:
    """Make the calls in turn; raise what errno says about the first that fails.

    A sandbox without one of its walls is no sandbox.
    """
    for name, function, arguments in calls:
        if function(*arguments) < 0:
            raise failure(name)


def failure(name: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{name}: {os.strerror(number)}")


def prctl_call(option: int, value: int) -> Call:
    zero = ctypes.c_ulong(0)
    return Call(f"prctl {option}", libc.prctl, (option, ctypes.c_ulong(value), zero, zero, zero))


def unshare_call(flags: int) -> Call:
    return Call("unshare", libc.unshare, (flags,))


def mount_call(
    source: bytes | None, target: bytes, kind: bytes | None, flags: int, options: bytes | None = None
) -> Call:
    return Call(f"mount {target!r}", libc.mount, (source, target, kind, ctypes.c_ulong(flags), options))


def calls_to_drop_capabilities() -> list[Call]:
    """Give up every capability for good, also across execve."""
    bounds = [prctl_call(PR_CAPBSET_DROP, capability) for capability in (CAP_SYS_ADMIN, CAP_SYS_CHROOT, CAP_SETPCAP)]
    header = struct.pack("<Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
    return [*bounds, Call("capset", libc.capset, (header, bytes(24))), prctl_call(PR_SET_NO_NEW_PRIVS, 1)]


def filter_call(program: ctypes.Structure) -> Call:
    """Install a ``syscall_filter.FilterProgram``."""
    return Call("seccomp", libc.prctl, (PR_SET_SECCOMP, 2, ctypes.byref(program), 0, 0))


def prctl(option: int, value: int) -> None:
    make([prctl_call(option, value)])


def unshare(flags: int) -> None:
    make([unshare_call(flags)])


def mount(source: bytes | None, target: bytes, kind: bytes | None, flags: int, options: bytes | None = None) -> None:
    make([mount_call(source, target, kind, flags, options)])


def make_read_only(place: str) -> None:
    """Protect owner, mode and times of what is mounted here; a device can still be written to."""
    kept = os.statvfs(place).f_flag & (MS_NOSUID | MS_NODEV | MS_NOEXEC)  # a user namespace may not take them off
    mount(None, place.encode(), None, MS_REMOUNT | MS_BIND | MS_RDONLY | kept)


def fork() -> int:
    child = libc_holding_the_lock.fork()
    if child < 0:
        raise failure("fork")
    return child


def exit_on(number: int) -> None:
    """Let this signal end the process at once, with its number as the status, whatever C code it runs."""
    libc.signal(number, ctypes.cast(libc._exit, ctypes.c_void_p))


IDLE_STACK = ctypes.create_string_buffer(16 << 10)
NO_SIGNAL, OTHER_SIGNALS = ctypes.create_string_buffer(b"\xff" * 128, 128), ctypes.create_string_buffer(128)


def start_idle() -> int:
    """Start a process that only waits to be killed, and takes no other signal.

    It calls one function of the C library, on a stack of its own in the memory that it shares with this process, and so
    costs a hundredth of a fork.
    """
    top = (ctypes.addressof(IDLE_STACK) + len(IDLE_STACK)) & ~15
    libc.sigprocmask(signal.SIG_SETMASK, NO_SIGNAL, OTHER_SIGNALS)
    child = libc_holding_the_lock.clone(libc.pause, ctypes.c_void_p(top), CLONE_VM | signal.SIGCHLD, None)
    number = ctypes.get_errno()
    libc.sigprocmask(signal.SIG_SETMASK, OTHER_SIGNALS, None)
    if child < 0:
        raise OSError(number, f"clone: {os.strerror(number)}")
    return child


def set_default_thread_stack(num_bytes: int) -> None:
    """Set the stack of threads that ask for no size; they would reserve the main thread's large limit."""
    attributes = ctypes.create_string_buffer(64)  # sizeof(pthread_attr_t) is 56 on x86_64, 64 on aarch64
    libc.pthread_attr_init(attributes)
    libc.pthread_attr_setstacksize(attributes, ctypes.c_size_t(num_bytes))
    if libc.pthread_setattr_default_np(attributes):
        raise OSError("pthread_setattr_default_np failed")
