"""Hand weights to processes that share a file system with this process."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

# Memory-backed on Linux: processes of one machine exchange weights without touching a disk.
SHARED_MEMORY_DIR = "/dev/shm"


@contextmanager
def weights_file(weights: Iterable[tuple[str, Tensor]], directory: str | None) -> Iterator[Path]:
    """Write ``(Hugging Face name, tensor)`` pairs to a file that exists inside the ``with`` block.

    Args:
        directory: a directory that the readers see too; None for this machine's shared memory.
    """
    import torch

    if directory is None and Path(SHARED_MEMORY_DIR).is_dir():
        directory = SHARED_MEMORY_DIR
    # The name is new each time, because a network file system may serve the old contents of an old name.
    with tempfile.TemporaryDirectory(prefix="ablate-weights-", dir=directory) as scratch:
        path = Path(scratch) / "weights.pt"
        # Without the clone, a view would be written with its whole storage.
        torch.save({name: tensor.detach().cpu().clone() for name, tensor in weights}, path)
        yield path
