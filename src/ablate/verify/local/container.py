"""One bubblewrap container with a warm fork server in it, seen from outside."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ablate.verify.inside import kernel
from ablate.verify.jobs import ALIVE_EVERY_S, Interrupted
from ablate.verify.local.cgroups import Group
from ablate.verify.local.sandbox_view import View

INSIDE = Path(__file__).parents[1] / "inside"
# Read once: the files that a container runs must neither change nor vanish while the verifier runs.
SOURCES = {
    name: (INSIDE / name).read_bytes()
    for name in (
        "kernel.py",
        "syscall_filter.py",
        "walls.py",
        "ending.py",
        "plain.py",
        "program.py",
        "test_report.py",
        "usage.py",
        "watch.py",
        "server.py",
    )
}
# Users that own nothing on the host. A container must not run as root: root has no process limit, and may read root's
# files. Each container has its own user, because kernels before 5.14 count a user's processes over all containers.
HOST_USERS = range(62_000, 65_000)
SANDBOX_USER = 1000
STACK_BYTES = 1 << 30  # main thread's stack, for recursion through C code; part of the address space
START_TIMEOUT_S = 60.0
END_TIMEOUT_S = 0.1
REAP_TIMEOUT_S = 5.0
MAX_COMPLAINT = 400
DEVICE_LINKS = {"/dev/shm": "/tmp", "/dev/fd": "/proc/self/fd"} | {
    f"/dev/{name}": f"/proc/self/fd/{number}" for number, name in enumerate(("stdin", "stdout", "stderr"))
}
ENVIRONMENT = {
    "HOME": "/tmp",
    "PATH": "/python/bin",
    "LD_LIBRARY_PATH": "/python/lib",
    "PYTHONHASHSEED": "0",  # the same program gives the same verdict twice
    "PYTHONDONTWRITEBYTECODE": "1",
    "LD_BIND_NOW": "1",  # else every test looks the same names of the C library up again
}
MISSING_BUBBLEWRAP = (
    "untrusted programs run only inside bubblewrap, and no `bwrap` is on the PATH: install it "
    "(Debian, Ubuntu: apt-get install bubblewrap)"
)


class ContainerError(Exception):
    """The container failed, not the program in it."""


def find_bubblewrap() -> str:
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise ContainerError(MISSING_BUBBLEWRAP)
    return bwrap


def arguments(
    bwrap: str,
    view: View,
    binds: list[tuple[str, str]],
    devices: list[tuple[str, str]],
    module_fds: list[int],
    server_fds: list[int],
) -> list[str]:
    """bubblewrap's command line: own user, PID, network, IPC, UTS namespaces; only a test's own tmpfs is writable."""
    line = [bwrap, "--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
    line += ["--unshare-cgroup-try", "--die-with-parent", "--new-session", "--hostname", "sandbox"]
    line += ["--uid", str(SANDBOX_USER), "--gid", str(SANDBOX_USER), "--cap-drop", "ALL"]
    # The server makes a namespace for each test, and the test then drops both. They count only inside the container.
    line += ["--cap-add", "CAP_SYS_ADMIN", "--cap-add", "CAP_SETPCAP", "--cap-add", "CAP_SYS_CHROOT", "--clearenv"]
    for name, value in {**ENVIRONMENT, **view.environment}.items():
        line += ["--setenv", name, value]
    for source, place in binds:
        line += ["--ro-bind", source, place]
    for target, place in view.links:
        line += ["--symlink", target, place]
    for place in view.masks:
        line += ["--tmpfs", place, "--remount-ro", place]
    line += ["--proc", "/proc", "--dir", "/tmp", "--perms", "0755", "--dir", "/dev"]
    for source, place in devices:
        line += ["--dev-bind", source, place]
    if all(place != "/dev" for _, place in devices):
        for place, target in DEVICE_LINKS.items():
            line += ["--symlink", target, place]
    for descriptor, name in zip(module_fds, SOURCES, strict=True):
        line += ["--perms", "0444", "--file", str(descriptor), f"/sandbox/{name}"]
    line += ["--remount-ro", "/", "--chdir", "/"]
    return [*line, view.executable, "-S", "-s", "-B", "-X", "utf8", "/sandbox/server.py", *map(str, server_fds)]


def memory_file(name: str, content: bytes = b"") -> int:
    """Make an anonymous file for one use, positioned at its start."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
    if content:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def is_mapped(user: int) -> bool:
    """Whether this user id exists here; in a rootless container it may not."""
    spans = (map(int, line.split()) for line in Path("/proc/self/uid_map").read_text().splitlines())
    return any(first <= user < first + count for first, _, count in spans)


def adopt_orphans() -> None:
    """Become the parent of orphaned processes: bubblewrap ends before the first process of its namespace ends."""
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)


def reap_orphans() -> None:
    """Wait until every orphan is gone, because a zombie still counts as a process of the control group."""
    deadline = time.monotonic() + REAP_TIMEOUT_S
    while (orphans := children() - running) and time.monotonic() < deadline:
        for orphan in orphans:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(orphan, os.WNOHANG)
        time.sleep(0.001)


def children() -> set[int]:
    path = Path(f"/proc/self/task/{os.getpid()}/children")
    return {int(word) for word in path.read_text().split()} if path.exists() else set()


running: set[int] = set()  # bubblewrap processes of this process's containers


@dataclass
class Container:
    """A running container; ``send`` and ``receive`` talk to the server inside.

    Raises:
        ContainerError: from every method, when the sandbox itself is at fault.
    """

    bwrap: str
    view: View
    binds: list[tuple[str, str]]
    devices: list[tuple[str, str]]
    group: Group | None
    line: socket.socket  # to the verifier's process
    is_cancelled: Callable[[], bool]  # called when ``line`` is readable: has the job been cancelled?
    on_wait: Callable[[], object]  # called again and again while the server inside is busy
    process: subprocess.Popen | None = field(default=None, init=False)
    channel: socket.socket | None = field(default=None, init=False)
    complaints: int = field(default=-1, init=False)  # pipe with the standard error of bubblewrap and of the server

    def start(self) -> None:
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # What does not fit the pipe is dropped: nothing that a program makes the server say can fill the container.
        self.complaints, spoken = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        modules = [memory_file(name, text) for name, text in SOURCES.items()]
        count = self.group.cpu_usage if self.group is not None else None
        given = [theirs.fileno(), *([count] if count is not None else [])]
        try:
            self.process = subprocess.Popen(
                arguments(self.bwrap, self.view, self.binds, self.devices, modules, given),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=spoken,
                pass_fds=[*given, *modules],
                preexec_fn=self.leave_root,
                env={},
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise ContainerError(f"bubblewrap did not start: {error}") from error
        finally:
            theirs.close()
            for descriptor in (spoken, *modules):
                os.close(descriptor)
        running.add(self.process.pid)
        if not self.receive(START_TIMEOUT_S).get("ready"):
            raise ContainerError("the fork server did not report that it is ready")

    def leave_root(self) -> None:
        """Join the group, set the stack and give up root; runs in the new process before it becomes bubblewrap."""
        if self.group is not None:
            self.group.join()
        hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
        soft = STACK_BYTES if hard == resource.RLIM_INFINITY else min(STACK_BYTES, hard)
        resource.setrlimit(resource.RLIMIT_STACK, (soft, hard))
        user = HOST_USERS[os.getpid() % len(HOST_USERS)]
        if os.getuid() == 0 and is_mapped(user):
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)

    def send(self, command: dict, descriptors: list[int]) -> None:
        try:
            socket.send_fds(self.channel, [json.dumps(command).encode()], descriptors)
        except OSError as error:
            raise ContainerError(self.reason(f"the sandbox does not listen: {error}")) from error

    def receive(self, timeout_s: float) -> dict:
        deadline = time.monotonic() + timeout_s
        ready: list = []
        while self.channel not in ready:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise ContainerError(self.reason(f"the sandbox did not answer within {timeout_s:.0f} s"))
            ready, _, _ = select.select([self.channel, self.line], [], [], min(left_s, ALIVE_EVERY_S))
            if self.line in ready and self.is_cancelled():
                raise Interrupted
            self.on_wait()
        try:
            message = self.channel.recv(1 << 16)
        except OSError as error:
            raise ContainerError(self.reason(f"the sandbox hung up: {error}")) from error
        if not message:
            raise ContainerError(self.reason("the sandbox ended"))
        return json.loads(message)

    def reason(self, what: str) -> str:
        said = self.take_complaints().decode("utf-8", "replace").strip()
        return f"{what} ({said.splitlines()[-1][:MAX_COMPLAINT]})" if said else what

    def take_complaints(self) -> bytes:
        """Empty the pipe; what was said during an earlier job explains nothing in the next one."""
        with contextlib.suppress(BlockingIOError):  # nothing was said
            return os.read(self.complaints, 1 << 16)
        return b""

    def restart(self) -> None:
        self.stop()
        self.start()

    def stop(self) -> None:
        """Kill everything inside and wait until it is gone."""
        if self.channel is not None:
            self.channel.close()  # an idle server then ends by itself
        if self.process is not None:
            try:
                self.process.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGKILL)
                self.process.wait()
            running.discard(self.process.pid)
            reap_orphans()
        if self.complaints >= 0:
            os.close(self.complaints)
        self.process, self.channel, self.complaints = None, None, -1
