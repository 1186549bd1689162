"""Files that appear whole or not at all, and the errors for a file that is damaged."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import Any

from ablate.errors import UserError

RESTORE = "restore it from a copy, or remove the run that it belongs to"


def write_atomic(path: Path, text: str, durable: bool = True) -> None:
    """Replace ``path`` by a file with this text; see ``replacing``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, durable) as scratch:
        scratch.write_text(text, encoding="utf-8")


@contextmanager
def replacing(path: Path, durable: bool = True) -> Iterator[Path]:
    """Yield a hidden path in the same directory; the file that the block writes there replaces ``path`` in one step.

    A reader finds the old file or the new one, never a part of one, also after a crash or a power cut.

    Args:
        durable: wait until the disk has the file and its name; false for what is cheap to make again.
    """
    scratch = scratch_path(path)
    if durable:
        remove_leftovers(path)
    try:
        yield scratch
        if durable:
            sync(scratch)
        scratch.replace(path)
        if durable:
            sync(path.parent)
    except BaseException as error:
        scratch.unlink(missing_ok=True)  # a full disk must not become fuller
        if isinstance(error, OSError):
            error.filename = error.filename or str(path)
        raise


def sync(path: Path) -> None:
    """Wait until the disk has the bytes of a file, or the names in a directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(directory: Path) -> None:
    """Wait until the disk has every file below a directory, and their names."""
    for path in sorted(directory.rglob("*")):
        sync(path)
    sync(directory)


def scratch_path(path: Path) -> Path:
    """A hidden name in the same directory, of this thread alone."""
    return path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.{socket.gethostname()}")


def remove_leftovers(path: Path) -> None:
    """Remove the scratch files for ``path`` of this machine's processes that have been killed."""
    for leftover in path.parent.glob(f".{escape(path.name)}.[0-9]*-*.{escape(socket.gethostname())}"):
        pid = leftover.name.removeprefix(f".{path.name}.").partition("-")[0]
        if not Path("/proc", pid).exists():
            leftover.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any]:
    """Read one JSON object.

    Raises:
        UserError: if the file does not hold one.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not readable JSON ({error}): {RESTORE}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} holds no JSON object: {RESTORE}")
    return values


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML mapping, with OmegaConf's rules for numbers.

    Raises:
        UserError: if the file does not hold one.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        values = OmegaConf.to_container(OmegaConf.create(path.read_text(encoding="utf-8")))
    except (YAMLError, OmegaConfBaseException, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is not readable YAML ({reason}): {RESTORE}") from error
    if not isinstance(values, dict) or not values or list(values.values()) == [None]:  # [None]: of a bare word
        raise UserError(f"{path} holds no YAML mapping: {RESTORE}")
    return values
