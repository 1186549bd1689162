"""The ranks on this machine: the kernel reports when one of them has ended, so silence needs no interpretation."""

from __future__ import annotations

import json
import os
import select
from contextlib import suppress
from pathlib import Path

import torch.distributed as dist


class Neighbours:
    """File descriptors of the other ranks' processes (pidfd_open(2)), as far as those are on this machine.

    Without Linux there are none, and only heartbeats show which ranks are alive.
    """

    def __init__(self, store: dist.Store, rank: int, size: int) -> None:
        self._store = store
        self._here = machine_id()
        self._unknown = set(range(size)) - {rank} if self._here else set()
        self._descriptors: dict[int, int] = {}  # descriptor -> rank
        self._ended: set[int] = set()
        if self._here:
            store.set(key_of(rank), json.dumps([self._here, os.getpid()]))

    def find(self) -> None:
        """Watch the ranks that have said by now where they are."""
        for rank in [rank for rank in self._unknown if self._store.check([key_of(rank)])]:
            self._unknown.remove(rank)
            machine, pid = json.loads(self._store.get(key_of(rank)))
            if machine == self._here:
                try:
                    self._descriptors[os.pidfd_open(pid)] = rank
                except ProcessLookupError:
                    self._ended.add(rank)

    def ended(self) -> set[int]:
        """The ranks of this machine whose processes have ended, whatever the reason."""
        poll = select.poll()
        for descriptor in self._descriptors:
            poll.register(descriptor, select.POLLIN)
        return self._ended | {self._descriptors[descriptor] for descriptor, _ in poll.poll(0)}


def key_of(rank: int) -> str:
    return f"ablate/process/{rank}"


def machine_id() -> str:
    """A name that two processes share if each can see the other's process id; empty where the kernel cannot tell."""
    with suppress(OSError, AttributeError):
        os.close(os.pidfd_open(os.getpid()))
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + str(Path("/proc/self/ns/pid").readlink())
    return ""
