"""What the sandbox shows of the host, and which system calls pass."""

from __future__ import annotations

import errno
import struct
import sys
from pathlib import Path

import pytest

from ablate.verify.inside import kernel, syscall_filter
from ablate.verify.local.sandbox_view import find_view
from ablate.verify.local.staging import STAGES, free_directory


def test_the_view_holds_the_interpreter_its_library_and_shared_libraries_only():
    view = find_view()
    assert (str(Path(sys.executable).resolve()), view.executable) in view.binds
    allowed = ("/python/", "/usr/lib", "/lib")
    assert all(inside.startswith(allowed) for _, inside in view.binds)
    assert all(Path(host).exists() for host, _ in view.binds)
    assert "/" not in [host for host, _ in view.binds]


def test_staging_covers_nothing_that_is_needed(monkeypatch):
    assert free_directory([]) == Path("/mnt")
    assert free_directory(["/mnt/repo/file.py"]) != Path("/mnt")
    with pytest.raises(OSError, match="none of"):
        free_directory([f"{place}/a" for place in STAGES])


def run_filter(machine: str, number: int, argument_0: int = 0, argument_1: int = 0, argument_2: int = 0) -> int:
    """A tiny interpreter of the filter's own instructions, so that both processors' tables are tested on either."""
    architecture = syscall_filter.ARCHITECTURES[machine][1]
    memory = {0: number, 4: architecture, 16: argument_0, 24: argument_1, 28: 0, 32: argument_2}
    code = syscall_filter.build_filter(machine, keeps_children=True)
    program = [struct.unpack_from("<HBBI", code, offset) for offset in range(0, len(code), 8)]
    position, loaded = 0, 0
    while True:
        operation, if_true, if_false, value = program[position]
        position += 1
        if operation == syscall_filter.RETURN:
            return value
        if operation == syscall_filter.LOAD:
            loaded = memory[value]
            continue
        conditions = {
            syscall_filter.JUMP_EQUAL: loaded == value,
            syscall_filter.JUMP_ABOVE: loaded > value,
            syscall_filter.JUMP_BITS: bool(loaded & value),
        }
        position += if_true if conditions[operation] else if_false


DENIED, ABSENT = syscall_filter.ERRNO | errno.EPERM, syscall_filter.ERRNO | errno.ENOSYS


@pytest.mark.parametrize("machine", syscall_filter.ARCHITECTURES)
def test_the_filter_closes_the_doors_and_nothing_else(machine):
    column = syscall_filter.ARCHITECTURES[machine][0]
    for row in syscall_filter.FORBIDDEN.values():
        if row[column] is not None:
            assert run_filter(machine, row[column]) == DENIED
    for row in syscall_filter.ABSENT.values():
        assert row[column] is None or run_filter(machine, row[column]) == ABSENT
    for row in syscall_filter.AIMED.values():
        assert run_filter(machine, row[column], argument_0=1) == syscall_filter.ERRNO | errno.ESRCH
        assert run_filter(machine, row[column], argument_0=2) == syscall_filter.ALLOW
    tables = (syscall_filter.FORBIDDEN, syscall_filter.ABSENT, syscall_filter.FEIGNED, syscall_filter.GUARDED)
    named = {row[column] for table in tables for row in table.values()}
    assert all(run_filter(machine, number) == syscall_filter.ALLOW for number in range(424) if number not in named)
    assert run_filter(machine, 0x40000000) == run_filter(machine, syscall_filter.LAST_KNOWN_CALL + 1) == ABSENT


@pytest.mark.parametrize("machine", syscall_filter.ARCHITECTURES)
def test_guarded_calls_are_decided_by_their_arguments(machine):
    numbers = {name: row[syscall_filter.ARCHITECTURES[machine][0]] for name, row in syscall_filter.GUARDED.items()}
    assert run_filter(machine, numbers["clone"], argument_0=17) == syscall_filter.ALLOW
    for flag in (
        0x10000000,
        kernel.CLONE_NEWPID,
        kernel.CLONE_NEWNS,
        kernel.CLONE_NEWIPC,
        syscall_filter.CLONE_PARENT,
        0x40000000,
        0x80,
    ):
        assert run_filter(machine, numbers["clone"], argument_0=flag | 17) == DENIED
    for name in ("socket", "socketpair"):
        assert run_filter(machine, numbers[name], argument_0=1) == syscall_filter.ALLOW
        for family in (0, 2, 10, 16, 17, 38, 40):
            assert run_filter(machine, numbers[name], argument_0=family) == syscall_filter.ERRNO | errno.EAFNOSUPPORT
    assert run_filter(machine, numbers["ioctl"], argument_1=syscall_filter.TIOCSTI) == DENIED
    assert run_filter(machine, numbers["ioctl"], argument_1=0x5401) == syscall_filter.ALLOW
    for command in (syscall_filter.F_SETLEASE, syscall_filter.F_NOTIFY, syscall_filter.F_SETPIPE_SZ):
        assert run_filter(machine, numbers["fcntl"], argument_1=command) == DENIED
    assert run_filter(machine, numbers["fcntl"], argument_1=4) == syscall_filter.ALLOW
    for option, wanted in (*((option, DENIED) for option in syscall_filter.FILTER_OPTIONS), (16, syscall_filter.ALLOW)):
        assert run_filter(machine, numbers["setsockopt"], argument_2=option) == wanted
    assert run_filter(machine, numbers["prctl"], argument_0=syscall_filter.PR_SET_SECCOMP) == DENIED
    for argument_0, argument_1, wanted in ((17, 0, "ALLOW"), (17, 4096, "FEIGN"), (10, 4096, "ALLOW")):
        found = run_filter(machine, numbers["rt_sigaction"], argument_0=argument_0, argument_1=argument_1)
        assert found == getattr(syscall_filter, wanted)
