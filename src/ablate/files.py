"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import threading
from pathlib import Path


def write_atomic(path: Path, text: str, durable: bool = True) -> None:
    """Replace ``path`` in one step: after a crash a reader finds the old text or the new text, never a part of one.

    Args:
        durable: wait until the disk has the text; false for what is cheap to make again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = scratch_path(path)
    with scratch.open("w", encoding="utf-8") as file:
        file.write(text)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    scratch.replace(path)


def scratch_path(path: Path) -> Path:
    """A hidden name in the same directory, of this thread alone."""
    return path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
