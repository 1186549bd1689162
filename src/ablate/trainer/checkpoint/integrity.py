"""Is a checkpoint on disk what was written, and by the run in whose directory it lies? ``complete.json`` knows both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch.distributed as dist

from ablate.errors import UserError
from ablate.records.provenance import computing_values, value_changes
from ablate.records.run import CONFIG_FILE, shown_changes
from ablate.trainer.parallel.world import World

COMPLETE = "complete.json"
READ_BYTES = 1 << 24


def fingerprints(directory: Path, world: World, written: Mapping[str, list[Any]] | None = None) -> dict[str, list[Any]]:
    """Return the size and hash of every file on every rank.

    Args:
        written: those of the files that this rank has just written. The ranks share the reading of the others.
    """
    names = world.broadcast(sorted(str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file()))
    known = gathered(written or {}, world)
    unknown = [name for name in names if name not in known]
    read = gathered({name: fingerprint(directory / name) for name in unknown[world.rank :: world.size]}, world)
    return dict(sorted((known | read).items()))


def gathered(own: Mapping[str, list[Any]], world: World) -> dict[str, list[Any]]:
    shares: list[Any] = [None] * world.size
    dist.all_gather_object(shares, own)
    return {name: value for share in shares for name, value in share.items()}


def new_digest() -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=16)


def fingerprint(path: Path) -> list[Any]:
    digest = new_digest()
    with path.open("rb") as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
    return [path.stat().st_size, digest.hexdigest()]


def find_damage(directory: Path, world: World) -> str | None:
    """Return what is wrong with a checkpoint, in words; None if every file is as it was written."""
    complete = directory / COMPLETE
    if not world.broadcast(complete.is_file()):
        return f"{COMPLETE} is missing"
    # Only the leader reads: on a shared disk another node may not see the file yet.
    expected = world.broadcast(read_record(complete) if world.rank == 0 else None)
    if expected is None:
        return f"{COMPLETE} is not readable"
    found = fingerprints(directory, world)
    for name, (size, digest) in expected["files"].items():
        if name not in found:
            return f"{name} is missing"
        if found[name][0] != size:
            return f"{name} has {found[name][0]} bytes, {size} were written"
        if found[name][1] != digest:
            return f"{name} does not hold what was written"
    return None


def check_is_of_run(checkpoint: Path) -> None:
    """Raise ``UserError`` for a checkpoint in a run's directory that another run wrote.

    A run is what ``provenance.computing_values`` says of its configuration. A checkpoint that names no run, or lies in
    no run's directory, is accepted.
    """
    config, complete = checkpoint.resolve().parents[1] / CONFIG_FILE, checkpoint / COMPLETE
    record = read_record(complete) if complete.is_file() and config.is_file() else None
    written_by = (record or {}).get("facts", {}).get("run")
    if not written_by:
        return
    changes = value_changes(written_by, computing_values(config.read_text(encoding="utf-8")))
    if changes:
        raise UserError(
            f"{checkpoint} was written by another run than {config} describes ({shown_changes(changes)}): move it to "
            "the run that it belongs to, or remove it"
        )


def read_record(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_text())
    except ValueError:
        return None
    return record if isinstance(record, dict) and "files" in record else None
