"""A copy of the sandbox's view in a place that every user of the machine can reach."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from ablate.verify.inside import kernel
from ablate.verify.local.container import DEVICE_LINKS
from ablate.verify.local.sandbox_view import View

HOST_DEVICES = [(place, place) for place in kernel.DEVICES]
STAGES = ("/mnt", "/media", "/srv", "/opt", "/var/tmp", "/tmp")


def free_directory(needed: list[str]) -> Path:
    """Find a directory that this process may mount over in its own view, because nothing that we need lies under it."""
    for candidate in STAGES:
        path = Path(candidate)
        if path.is_dir() and not any(Path(place).is_relative_to(path) for place in needed):
            return path
    raise OSError(f"none of {', '.join(STAGES)} is free to cover")


def stage(bwrap: str, view: View) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """As root, bind the files that the container shows to a place that another user can reach.

    The interpreter may lie under a home directory that only root may enter. The binds are made in a mount namespace of
    this process and end with it.

    Returns:
        The binds (host path, path inside) with the new host paths, and those of the device nodes.

    Raises:
        OSError: when the machine forbids root to mount, as an unprivileged container does.
    """
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount(None, b"/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    stage_directory = free_directory([bwrap, sys.prefix, sys.base_prefix, __file__, *(host for host, _ in view.binds)])
    sources = [(os.open(host, os.O_PATH), Path(host).is_dir(), inside) for host, inside in view.binds]
    kernel.mount(b"tmpfs", bytes(stage_directory), b"tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, b"mode=755,size=1m")
    staged = []
    for index, (descriptor, is_directory, inside) in enumerate(sources):
        place = stage_directory / str(index)
        if is_directory:
            place.mkdir()
        else:
            place.touch()
        kernel.mount(f"/proc/self/fd/{descriptor}".encode(), bytes(place), None, kernel.MS_BIND)
        os.close(descriptor)
        staged.append((str(place), inside))
    return staged, make_devices(stage_directory / "devices")


def make_devices(directory: Path) -> list[tuple[str, str]]:
    """Make a /dev with nodes of its own, so that nothing can lock those of the host; take the host's if that is denied.

    It is one mount: the kernel copies each mount for each test.
    """
    directory.mkdir()
    kernel.mount(b"tmpfs", bytes(directory), b"tmpfs", kernel.MS_NOSUID | kernel.MS_NOEXEC, b"mode=755,size=64k")
    try:
        for place, minor in kernel.DEVICES.items():
            node = directory / Path(place).name
            os.mknod(node, stat.S_IFCHR, os.makedev(1, minor))
            node.chmod(0o666)
    except PermissionError:  # a container may not have the right
        return HOST_DEVICES
    for place, target in DEVICE_LINKS.items():
        (directory / Path(place).name).symlink_to(target)
    return [(str(directory), "/dev")]
