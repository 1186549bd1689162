"""Messages of weights between two processes of one machine, through memory that both map: no tensor of a GPU travels.

A CUDA tensor that is sent to another process travels by CUDA IPC. With the allocator's expandable segments its reader
takes a file descriptor out of the sender's process (pidfd_getfd), which Yama and containers refuse to ordinary users.
"""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ablate.rollout.weights.buckets import MessageLayout, buckets


class Mapped:
    """The memory behind a descriptor as bytes. Where there is a GPU it is pinned, so that copies run at full rate.

    The driver keeps a pinned range until it is told otherwise, also after the memory is gone: ``close`` tells it.
    """

    def __init__(self, fd: int, num_bytes: int) -> None:
        area = mmap.mmap(fd, num_bytes)
        self.bytes: Tensor | None = torch.frombuffer(area, dtype=torch.uint8)
        self._is_pinned = pinning("cudaHostRegister", self.bytes.data_ptr(), num_bytes, 0)

    def close(self) -> None:
        """Unmap it, once no view of it is left."""
        if self._is_pinned:
            pinning("cudaHostUnregister", self.bytes.data_ptr())
        self.bytes = None


def cuda_runtime() -> Any:
    """The calls of the CUDA runtime; None without a GPU."""
    return torch.cuda.cudart() if torch.cuda.is_available() else None


def pinning(name: str, *arguments: int) -> bool:
    """Call the runtime in a thread of its own, and return whether it agreed.

    A refusal stays as the last error of its thread, and the next kernel that the thread starts would raise it. Without
    pinned memory copies are slower and right.
    """
    runtime = cuda_runtime()
    if runtime is None:
        return False
    device = torch.cuda.current_device() if torch.cuda.is_available() else None
    codes: list[int] = []

    def call() -> None:
        if device is not None:
            torch.cuda.set_device(device)
        codes.append(int(getattr(runtime, name)(*arguments)))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    return codes == [0]


class SharedBuffer:
    """The sender's side: memory without a name, which is gone when this process ends, however it ends."""

    def __init__(self) -> None:
        self._fd = os.memfd_create("ablate-hand-off")
        self._memory: Mapped | None = None
        self._num_mapped = 0

    @property
    def path(self) -> str:
        """Where another process of this user opens the memory."""
        return f"/proc/{os.getpid()}/fd/{self._fd}"

    def put(self, buffer: Tensor) -> int:
        """Copy a buffer of bytes from any device into the memory; return how many bytes are mapped."""
        if self._memory is None or self._num_mapped < len(buffer):
            if self._memory is not None:
                self._memory.close()
            self._num_mapped = max(len(buffer), 1)
            os.ftruncate(self._fd, self._num_mapped)
            self._memory = Mapped(self._fd, self._num_mapped)
        self._memory.bytes[: len(buffer)].copy_(buffer)
        return self._num_mapped


class SharedReader:
    """The receiver's side; one serves all hand-offs, because a mapping is pinned once."""

    def __init__(self) -> None:
        self._known: tuple[str, int] | None = None
        self._memory: Mapped | None = None

    def take(self, path: str, num_mapped: int, num_bytes: int, device: torch.device) -> Tensor:
        """A copy of the first ``num_bytes`` on ``device``; the sender may then write the next message."""
        if self._known != (path, num_mapped):
            if self._memory is not None:
                self._memory.close()
            fd = os.open(path, os.O_RDWR)
            self._memory, self._known = Mapped(fd, num_mapped), (path, num_mapped)
            os.close(fd)
        return self._memory.bytes[:num_bytes].to(device, copy=True)


@dataclass(frozen=True)
class Place:
    """Where the processes of one machine find a message."""

    machine: str
    path: str
    num_mapped: int


@dataclass(frozen=True)
class SharedMessage:
    """A message of weights that lies in the memory of every machine with a rank of the trainer."""

    layout: MessageLayout
    places: tuple[Place, ...]


def machine_name() -> str:
    """The same for two processes that find each other's memory in /proc."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + " " + str(Path("/proc/self/ns/pid").readlink())


class SharedHandOff:
    """One rank's part of a hand-off to servers on the trainer's GPUs.

    A server cannot be in one NCCL group with a rank on its own GPU. So the first rank of every machine writes each
    message, which all ranks gather, into the memory of that machine.

    Args:
        gathered: returns what every rank gave, in order of ranks, on every rank.
        rank: of this process.
        machine: where it runs; None: as ``machine_name`` says.
        by_file: the leader writes a file instead (``rollout.engine.weight_transfer=file``).
    """

    def __init__(
        self,
        bucket_bytes: float,
        gathered: Callable[[Any], list[Any]],
        rank: int,
        machine: str | None = None,
        *,
        by_file: bool = False,
    ) -> None:
        self._bucket_bytes, self._gathered, self._by_file = bucket_bytes, gathered, by_file
        self._machine = machine or machine_name()
        self._buffer = SharedBuffer() if gathered(self._machine).index(self._machine) == rank else None

    def wait_for_all(self) -> None:
        """Return when every rank has come here, such as after it has made room for servers that wake."""
        self._gathered(None)

    def messages(self, weights: Iterable[tuple[str, Tensor]]) -> Iterator[SharedMessage | tuple[str, Tensor]]:
        """The messages of a hand-off; every rank has to take all of them, and the leader's are read by the servers.

        With ``by_file`` they are the weights as they come.
        """
        packed: Tensor | None = None
        if self._by_file:
            yield from weights
        else:
            for layout, packed in buckets(weights, self._bucket_bytes):
                place = None
                if self._buffer is not None:
                    place = Place(self._machine, self._buffer.path, self._buffer.put(packed))
                yield SharedMessage(layout, tuple(each for each in self._gathered(place) if each is not None))
                self.wait_for_all()  # the servers have read it once the leader asks for the next one
        packed = None  # its memory, too, is free below
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # what gathering took: the servers' caches get their memory next
        self.wait_for_all()
