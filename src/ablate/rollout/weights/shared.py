"""Messages of weights between two processes of one machine, through memory that both map: no tensor of a GPU travels.

A CUDA tensor that is sent to another process travels by CUDA IPC. With the allocator's expandable segments its reader
takes a file descriptor out of the sender's process (pidfd_getfd), which Yama and containers refuse to ordinary users.
"""

from __future__ import annotations

import ctypes
import mmap
import os

import torch
from torch import Tensor


class SharedBuffer:
    """The sender's side: memory without a name, which is gone when this process ends, however it ends."""

    def __init__(self) -> None:
        self._fd = os.memfd_create("ablate-hand-off")
        self._memory: Tensor | None = None

    @property
    def path(self) -> str:
        """Where another process of this user opens the memory."""
        return f"/proc/{os.getpid()}/fd/{self._fd}"

    def put(self, buffer: Tensor) -> int:
        """Copy a buffer of bytes from any device into the memory; return how many bytes are mapped."""
        if self._memory is None or len(self._memory) < len(buffer):
            self._memory = None  # a mapping that is pinned ends before the next one begins
            os.ftruncate(self._fd, max(len(buffer), 1))
            self._memory = mapped(self._fd, max(len(buffer), 1))
        self._memory[: len(buffer)].copy_(buffer)
        return len(self._memory)


class SharedReader:
    """The receiver's side."""

    def __init__(self) -> None:
        self._known: tuple[str, int] | None = None
        self._memory: Tensor | None = None

    def take(self, path: str, num_mapped: int, num_bytes: int, device: torch.device) -> Tensor:
        """A copy of the first ``num_bytes`` on ``device``; the sender may then write the next message."""
        if self._known != (path, num_mapped):
            self._memory = None
            fd = os.open(path, os.O_RDWR)
            self._memory, self._known = mapped(fd, num_mapped), (path, num_mapped)
            os.close(fd)
        return self._memory[:num_bytes].to(device, copy=True)


def mapped(fd: int, num_bytes: int) -> Tensor:
    """The memory behind a descriptor as bytes; where there is a GPU it is pinned, so that copies run at full rate."""
    area = mmap.mmap(fd, num_bytes)
    memory = torch.frombuffer(area, dtype=torch.uint8)
    if torch.cuda.is_available():
        address = ctypes.addressof(ctypes.c_char.from_buffer(area))
        torch.cuda.cudart().cudaHostRegister(address, num_bytes, 0)  # refused, copies are slower and still right
    return memory
