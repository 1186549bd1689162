"""How much memory this process may use. Only the standard library: install_gpu.py runs before there are packages."""

from __future__ import annotations

from pathlib import Path


def usable_bytes(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup"), *, now: bool = False) -> int:
    """Memory of the machine, or less where a control group limits it: SLURM sets the limit of a job, not of its tasks.

    Args:
        now: only what no process uses at present, the cache of files not counted.
    """
    words = dict(line.split(":", 1) for line in (proc / "meminfo").read_text().splitlines())
    limits = [int(words["MemAvailable" if now else "MemTotal"].split()[0]) * 1024]
    own = proc / "self" / "cgroup"
    for line in own.read_text().splitlines() if own.is_file() else ():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            root, name = groups / "memory", "memory.limit_in_bytes"
        elif not controllers:
            root, name = groups, "memory.max"
        else:
            continue
        group = root / path.strip("/")
        for each in (group, *group.parents[: len(group.parts) - len(root.parts)]):
            text = (each / name).read_text().strip() if (each / name).is_file() else ""
            limits += [int(text)] if text.isdecimal() else []
    return min(limits)
