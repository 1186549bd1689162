"""Hand weights to processes that share this machine's memory, or a file system."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@contextmanager
def weights_file(weights: Iterable[tuple[str, Tensor]], directory: str | None) -> Iterator[Path]:
    """Write ``(Hugging Face name, tensor)`` pairs to a file that exists inside the ``with`` block.

    Args:
        directory: a directory that the readers see too; None for the memory of this machine.
    """
    import torch

    with file_in_memory() if directory is None else file_in(directory) as (file, path):
        # Without the clone, a view would be written with its whole storage.
        torch.save({name: tensor.detach().cpu().clone() for name, tensor in weights}, file)
        file.flush()
        yield path


@contextmanager
def file_in_memory() -> Iterator[tuple[IO[bytes], Path]]:
    """A file without a name, which is gone when this process ends, however it ends; /dev/shm may be too small for it.

    Other processes of this user open it by the path.
    """
    with os.fdopen(os.memfd_create("ablate-weights"), "wb") as file:
        yield file, Path(f"/proc/{os.getpid()}/fd/{file.fileno()}")


@contextmanager
def file_in(directory: str) -> Iterator[tuple[IO[bytes], Path]]:
    """A file with a new name each time: a network file system may serve the old contents of an old name."""
    with tempfile.TemporaryDirectory(prefix="ablate-weights-", dir=directory) as scratch:
        path = Path(scratch) / "weights.pt"
        with path.open("wb") as file:
            yield file, path
