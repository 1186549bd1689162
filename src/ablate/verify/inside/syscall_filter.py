"""The system-call filter of a test: which calls exist for a program, which are refused and which are feigned."""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
from collections.abc import Sequence

CLONE_NEW_ANY = 0x7E020080  # every CLONE_NEW* flag of clone(2), CLONE_NEWTIME included
CLONE_PARENT = 0x8000
PR_SET_SECCOMP = 22
AF_UNIX = 1
TIOCSTI = 0x5412
F_SETLEASE, F_NOTIFY, F_SETPIPE_SZ = 1024, 1026, 1031
FILTER_OPTIONS = (26, 50, 51, 52)  # SO_ATTACH_FILTER and its kind
SIGCHLD = 17

# numbers: (x86_64, aarch64); None where the architecture lacks the call
FORBIDDEN = {  # answered with EPERM
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "memfd_create": (319, 279),  # memory that no limit of the process counts
    "memfd_secret": (447, 447),
    "personality": (135, 92),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "acct": (163, 89),
    "syslog": (103, 116),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "vhangup": (153, 58),
    "vmsplice": (278, 75),
    "move_pages": (279, 239),
    "migrate_pages": (256, 238),
    "fanotify_init": (300, 262),
    "seccomp": (317, 277),  # the kernel has one quota for all compiled filters
    # Sockets sent into each other's queues outlive their test until the kernel looks for them, with all that they hold.
    "sendmsg": (46, 211),
    "sendmmsg": (307, 269),
    "modify_ldt": (154, None),
    "ioperm": (173, None),
    "iopl": (172, None),
    "uselib": (134, None),
}
ABSENT = {  # answered with ENOSYS, so that the C library falls back
    # Its flags lie in memory, which a filter cannot read. After ENOSYS glibc uses clone; after EPERM no thread starts.
    "clone3": (435, 435),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    # Quotas of the whole machine, or of the user who has started it without root.
    "io_setup": (206, 0),
    "io_destroy": (207, 1),
    "io_submit": (209, 2),
    "io_cancel": (210, 3),
    "io_getevents": (208, 4),
    "io_pgetevents": (333, 292),
    "inotify_init": (253, None),
    "inotify_init1": (294, 26),
}
FEIGNED = {  # answered with success and not done
    # So that a program that seems starved is starved.
    "setpriority": (141, 140),
    "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118),
    "sched_setattr": (314, 274),
    "sched_setaffinity": (203, 122),
    "ioprio_set": (251, 30),
    # A program's own files need no disk; these would work on the disks and the page cache of the host.
    "sync": (162, 81),
    "syncfs": (306, 267),
    "fsync": (74, 82),
    "fdatasync": (75, 83),
    "sync_file_range": (277, 84),
    "fadvise64": (221, 223),
    "readahead": (187, 213),
}
GUARDED = {
    "clone": (56, 220),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "setsockopt": (54, 208),
    "ioctl": (16, 29),
    "fcntl": (72, 25),
    "prctl": (157, 167),
    "rt_sigaction": (13, 134),
}
AIMED = {  # at a process that the first argument names; the first one of a test's namespace is not the program's
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434),
    "prlimit64": (302, 261),
}
LAST_KNOWN_CALL = 451  # cachestat, Linux 6.5: later calls do not exist here
ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column of the tables, AUDIT_ARCH

LOAD, JUMP_EQUAL, JUMP_ABOVE, JUMP_BITS, RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
FEIGN = ERRNO  # error 0: the call returns 0
CALL_NUMBER, ARCHITECTURE, ARGUMENT_0, ARGUMENT_1, ARGUMENT_2 = 0, 4, 16, 24, 32  # in struct seccomp_data, low words


def instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)


def answer(value: int) -> bytes:
    return instruction(RETURN, value)


def guard(argument: int, code: int, values: Sequence[int], if_true: int, if_false: int) -> bytes:
    """Decide a call by one of its arguments: does the comparison hold for any of the values?"""
    jumps = [instruction(code, value, len(values) - place, 0) for place, value in enumerate(values)]
    return instruction(LOAD, argument) + b"".join(jumps) + answer(if_false) + answer(if_true)


def keep_sigchld() -> bytes:
    """Let a program read what it does on SIGCHLD, and feign the change: its ended children stay to be waited for."""
    null_low = instruction(LOAD, ARGUMENT_1) + instruction(JUMP_EQUAL, 0, 0, 2)
    null_high = instruction(LOAD, ARGUMENT_1 + 4) + instruction(JUMP_EQUAL, 0, 1, 0)
    is_sigchld = instruction(LOAD, ARGUMENT_0) + instruction(JUMP_EQUAL, SIGCHLD, 0, 5)
    return is_sigchld + null_low + null_high + answer(FEIGN) + answer(ALLOW)


def decide(ranges: list[tuple[int, bytes]]) -> bytes:
    """Find the range of the loaded call number by halving, and run its code.

    Whenever a filter is installed, the kernel runs it once for every call number. Halving needs 7 jumps for each of
    them, a list of all special numbers 60.

    Args:
        ranges: first number and code of each range of call numbers, in ascending order.
    """
    if len(ranges) == 1:
        return ranges[0][1]
    middle = len(ranges) // 2
    lower, upper = decide(ranges[:middle]), decide(ranges[middle:])
    return instruction(JUMP_ABOVE, ranges[middle][0] - 1, len(lower) // 8, 0) + lower + upper


def build_filter(machine: str, keeps_children: bool) -> bytes:
    """Return the classic BPF program: it allows what a contest program may need, and no way out of the sandbox.

    Args:
        keeps_children: whether an ended child must wait for its parent, because only then its CPU time is counted.

    Raises:
        KeyError: for a processor whose call numbers are not in the tables.
    """
    column, audit_architecture = ARCHITECTURES[machine]
    denied, absent = ERRNO | errno.EPERM, ERRNO | errno.ENOSYS
    only_unix = guard(ARGUMENT_0, JUMP_EQUAL, [AF_UNIX], ALLOW, ERRNO | errno.EAFNOSUPPORT)
    guards = {
        "clone": guard(ARGUMENT_0, JUMP_BITS, [CLONE_NEW_ANY | CLONE_PARENT], denied, ALLOW),  # no child of the watcher
        "socket": only_unix,
        "socketpair": only_unix,
        "setsockopt": guard(ARGUMENT_2, JUMP_EQUAL, FILTER_OPTIONS, denied, ALLOW),
        "ioctl": guard(ARGUMENT_1, JUMP_EQUAL, [TIOCSTI], denied, ALLOW),
        "fcntl": guard(ARGUMENT_1, JUMP_EQUAL, [F_SETLEASE, F_NOTIFY, F_SETPIPE_SZ], denied, ALLOW),
        "prctl": guard(ARGUMENT_0, JUMP_EQUAL, [PR_SET_SECCOMP], denied, ALLOW),
        "rt_sigaction": keep_sigchld() if keeps_children else answer(ALLOW),
    }
    answers = ((FORBIDDEN, denied), (ABSENT, absent), (FEIGNED, FEIGN))
    decisions = {row[column]: answer(value) for table, value in answers for row in table.values()}
    decisions |= {row[column]: guards[name] for name, row in GUARDED.items()}
    not_the_first = guard(ARGUMENT_0, JUMP_EQUAL, [1], ERRNO | errno.ESRCH, ALLOW)
    decisions |= {row[column]: not_the_first for row in AIMED.values()}
    decisions.pop(None, None)  # what this architecture lacks
    ranges = [(0, decisions.get(0, answer(ALLOW)))]
    for number in range(1, LAST_KNOWN_CALL + 1):
        decision = decisions.get(number, answer(ALLOW))
        if decision != ranges[-1][1]:
            ranges.append((number, decision))
    ranges.append((LAST_KNOWN_CALL + 1, answer(absent)))  # also every x32 call (from 0x40000000)
    checked_architecture = instruction(JUMP_EQUAL, audit_architecture, 1, 0) + answer(KILL)
    return instruction(LOAD, ARCHITECTURE) + checked_architecture + instruction(LOAD, CALL_NUMBER) + decide(ranges)


class FilterProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def load_filter(keeps_children: bool) -> FilterProgram:
    code = build_filter(platform.machine(), keeps_children)
    return FilterProgram(len(code) // 8, code)
