"""Control groups, where the machine offers them: limits on the memory and processes of one backend's whole container,
and the count of its CPU time, which no process can leave."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

PREFIX = "ablate-verifier-"
NUM_SPARE_PROCESSES = 16  # two of bubblewrap, the server, the program process, and threads that are ending
NO_GROUP = "memory and processes are limited by rlimits and by watching only"
EVENTS_BYTES = 4096  # the file has a few short lines
REMOVE_TIMEOUT_S = 2.0  # killed processes need a moment to end
ROOT_V2 = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))


@dataclass(frozen=True)
class Group:
    """The control group of one backend: one directory (v2), or one directory per controller (v1)."""

    version: int
    memory: Path
    pids: Path
    cpu: Path | None  # None: the machine does not count CPU time in groups

    @property
    def directories(self) -> set[Path]:
        return {self.memory, self.pids, self.cpu} - {None}

    def join(self) -> None:
        """Move the calling process into the group; its children will be in it too."""
        for directory in self.directories:
            (directory / "cgroup.procs").write_text("0")

    def limit(self, memory_bytes: int, num_processes: int) -> None:
        name = "memory.max" if self.version == 2 else "memory.limit_in_bytes"
        (self.memory / name).write_text(str(memory_bytes))
        (self.pids / "pids.max").write_text(str(num_processes + NUM_SPARE_PROCESSES))

    def num_out_of_memory(self) -> int:
        """Number of processes that the kernel has killed here because the memory limit was reached."""
        rows = (line.split() for line in os.pread(self.events, EVENTS_BYTES, 0).splitlines())
        return next((int(row[1]) for row in rows if row[0] == b"oom_kill"), 0)

    @cached_property
    def cpu_usage(self) -> int | None:
        """Descriptor of the file that ``usage.group_cpu_s`` reads."""
        if self.cpu is None:
            return None
        return os.open(self.cpu / ("cpu.stat" if (self.cpu / "cpu.stat").exists() else "cpuacct.usage"), os.O_RDONLY)

    @cached_property
    def events(self) -> int:
        """Descriptor of the file with the kernel's counts; it is read twice in every test."""
        return os.open(self.memory / ("memory.events" if self.version == 2 else "memory.oom_control"), os.O_RDONLY)

    def remove(self) -> None:
        """Remove the group once its last process is gone; if a process stays, a later start removes the group."""
        deadline = time.monotonic() + REMOVE_TIMEOUT_S
        for directory in self.directories:
            while not remove_directory(directory) and time.monotonic() < deadline:
                time.sleep(0.005)


def remove_directory(directory: Path) -> bool:
    try:
        directory.rmdir()
    except FileNotFoundError:
        return True
    except OSError:  # a process in it is still ending
        return False
    return True


def own_directory(controller: str) -> Path | None:
    """The group of this process under a v1 controller, or None."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            for mounted in (Path("/sys/fs/cgroup", controllers), Path("/sys/fs/cgroup", controller)):
                if (mounted / path.lstrip("/")).is_dir():
                    return mounted / path.lstrip("/")
                if mounted.is_dir():  # in a container the group may be mounted as the root
                    return mounted
    return None


def parents_v2() -> list[Path]:
    """Directories in which a v2 group could be made: next to the group of this process, then at the root."""
    own = next((line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")), "/")
    candidates = [place / own.lstrip("/") for place in ROOT_V2]
    candidates = [directory for place in candidates for directory in (place, place.parent)] + list(ROOT_V2)
    return [directory for directory in candidates if (directory / "cgroup.subtree_control").is_file()]


def sweep(parent: Path) -> None:
    """Remove the groups of supervisors that were killed; a group's name holds the process id of its supervisor."""
    for directory in parent.glob(f"{PREFIX}*"):
        owner = directory.name.removeprefix(PREFIX)
        if not Path("/proc", owner).exists():
            remove_directory(directory)


def make_v2() -> Group | None:
    for parent in parents_v2():
        enabled = (parent / "cgroup.subtree_control").read_text().split()
        if not {"memory", "pids"} <= set(enabled):
            continue
        directory = parent / f"{PREFIX}{os.getpid()}"
        sweep(parent)
        directory.mkdir()
        if (directory / "memory.swap.max").exists():
            (directory / "memory.swap.max").write_text("0")
        return Group(2, directory, directory, directory)
    return None


def make_v1() -> Group | None:
    parents = [own_directory(controller) for controller in ("memory", "pids")]
    if None in parents:
        return None
    return Group(1, *map(make_below, parents), cpu=make_cpu_v1())


def make_cpu_v1() -> Path | None:
    parent = own_directory("cpuacct")
    with contextlib.suppress(OSError):  # this hierarchy may not be ours where the others are
        return parent and make_below(parent)
    return None


def make_below(parent: Path) -> Path:
    directory = parent / f"{PREFIX}{os.getpid()}"
    sweep(parent)
    directory.mkdir(exist_ok=True)
    return directory


def make_group() -> tuple[Group | None, str]:
    """Make a group for this process (v2, else v1, else none); return it with a sentence that says which and why."""
    reasons = []
    for version, make in ((2, make_v2), (1, make_v1)):
        try:
            group = make()
            if group is not None:
                group.limit(1 << 30, NUM_SPARE_PROCESSES)
                return group, f"cgroup v{version} limits the memory and processes of each container"
            reasons.append(f"no cgroup v{version} with memory and pids")
        except OSError as error:
            reasons.append(f"cgroup v{version}: {error.strerror}")
    return None, f"{NO_GROUP} ({'; '.join(reasons)})"
