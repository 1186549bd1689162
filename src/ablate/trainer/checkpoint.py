"""Checkpoints that survive a kill, a damaged disk and a change of layout.

A checkpoint is a directory ``step_000010`` that appears whole or not at all: Megatron's shards (any layout can read
them), ``extra.json`` (the loop's own state) and ``complete.json`` (the size and hash of every file). ``latest`` and
``best`` name directories; what they name is checked before it is used.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch.distributed as dist

from ablate.config import CheckpointConfig
from ablate.errors import UserError
from ablate.trainer import shards

if TYPE_CHECKING:
    from ablate.trainer.parallel import World
    from ablate.trainer.step import Trainer

EXTRA, COMPLETE = "extra.json", "complete.json"
LATEST, BEST = "latest", "best"
PARTIAL_SUFFIX = ".partial"
READ_BYTES = 1 << 24


@dataclass(frozen=True)
class Restored:
    """What ``restore`` found: the step it was saved after, and the loop's state."""

    step: int
    extra: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run under ``root``. Every rank calls every method in the same order."""

    def __init__(self, root: Path, config: CheckpointConfig, trainer: Trainer) -> None:
        self.root, self.config, self.trainer = Path(root), config, trainer
        self._pending: _Pending | None = None

    def save(self, step: int, extra: dict[str, Any], score: float | None = None) -> None:
        """Write the trainer's state after ``step``, then drop what ``config`` does not keep.

        With ``config.asynchronous`` the files are written while training goes on; the checkpoint counts from the next
        ``save`` or ``finish`` on.

        Args:
            extra: the loop's state, of JSON values only.
            score: higher is better; ``best`` names the highest.
        """
        self.finish()
        pending = _Pending(self.root, step, round_trip(extra), score)
        on_leader(self.trainer.world, pending.begin)
        pending.writing = shards.write(self.trainer, pending.partial, self.config.asynchronous)
        self._pending = pending
        if not self.config.asynchronous:
            self.finish()

    def finish(self) -> None:
        """Wait for a save in progress and make it count. Call it before the process ends."""
        if self._pending is None:
            return
        pending, self._pending = self._pending, None
        pending.writing.wait()
        world = self.trainer.world
        on_leader(world, pending.write_extra)
        files = fingerprints(pending.partial, world)
        on_leader(world, lambda: self._publish(pending, files))

    def restore(self) -> Restored | None:
        """Load the newest undamaged checkpoint, saying which damaged ones are skipped; None where there is none."""
        names = self.trainer.world.broadcast(newest_first(self.root))
        for name in names:
            damage = find_damage(self.root / name, self.trainer.world)
            if damage is None:
                return Restored(step_of(name), _load(self.trainer, self.root / name))
            if self.trainer.is_leader:
                print(f"warning: checkpoint {name} is skipped: {damage}", file=sys.stderr)
        return None

    def _publish(self, pending: _Pending, files: dict[str, list[Any]]) -> None:
        record = {"step": pending.step, "score": pending.score, "files": files}
        write_durably(pending.partial / COMPLETE, json.dumps(record, indent=1))
        final = self.root / pending.name
        shutil.rmtree(final, ignore_errors=True)
        pending.partial.rename(final)
        write_durably(self.root / LATEST, pending.name)
        best = best_name(self.root)
        if best is not None:
            write_durably(self.root / BEST, best)
        keep = set(newest_first(self.root)[: self.config.keep]) | ({best} if self.config.keep_best else set())
        for name in newest_first(self.root):
            if name not in keep:
                shutil.rmtree(self.root / name)


class _Pending:
    """A checkpoint being written, under a name that no reader looks at."""

    def __init__(self, root: Path, step: int, extra: dict[str, Any], score: float | None) -> None:
        self.root, self.step, self.extra, self.score = root, step, extra, score
        self.name = f"step_{step:06d}"
        self.partial = root / (self.name + PARTIAL_SUFFIX)
        self.writing: shards.Writing

    def begin(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        for leftover in self.root.glob(f"step_*{PARTIAL_SUFFIX}"):  # of a process that was killed
            shutil.rmtree(leftover)
        self.partial.mkdir()

    def write_extra(self) -> None:
        (self.partial / EXTRA).write_text(json.dumps(self.extra))


def load_one(trainer: Trainer, directory: Path) -> dict[str, Any]:
    """Load weights, optimizer and place in the schedule from one checkpoint; return the loop's state.

    Raises:
        UserError: when the checkpoint is damaged.
    """
    damage = find_damage(directory, trainer.world)
    if damage is not None:
        raise UserError(f"{directory} cannot be loaded: {damage}: name another checkpoint")
    return _load(trainer, directory)


def _load(trainer: Trainer, directory: Path) -> dict[str, Any]:
    shards.read(trainer, directory)
    return json.loads((directory / EXTRA).read_text())


def round_trip(extra: dict[str, Any]) -> dict[str, Any]:
    """Refuse what JSON would not give back as it was (tuples, integer keys, tensors)."""
    if json.loads(json.dumps(extra)) != extra:
        raise TypeError("a checkpoint's extra state must consist of JSON values (string keys, lists, no tuples)")
    return extra


def on_leader(world: World, action: Any) -> None:
    """Run ``action`` on the leader while the others wait."""
    if world.is_leader:
        action()
    dist.barrier()


def fingerprints(directory: Path, world: World) -> dict[str, list[Any]]:
    """Size and hash of every file, on every rank; each rank reads its share of the files."""
    names = world.broadcast(sorted(str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file()))
    own = {name: fingerprint(directory / name) for name in names[world.rank :: world.size]}
    shares: list[Any] = [None] * world.size
    dist.all_gather_object(shares, own)
    return {name: value for share in shares for name, value in share.items()}


def fingerprint(path: Path) -> list[Any]:
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
    return [path.stat().st_size, digest.hexdigest()]


def find_damage(directory: Path, world: World) -> str | None:
    """What is wrong with a checkpoint, in words; None if every file is as it was written."""
    complete = directory / COMPLETE
    if not world.broadcast(complete.is_file()):
        return f"{COMPLETE} is missing"
    expected = world.broadcast(read_record(complete))
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


def read_record(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_text())
    except ValueError:
        return None
    return record if isinstance(record, dict) and "files" in record else None


def newest_first(root: Path) -> list[str]:
    """Names of the checkpoints under ``root``; what ``latest`` names comes first."""
    names = [p.name for p in root.glob("step_*") if p.is_dir() and p.suffix != PARTIAL_SUFFIX]
    names.sort(key=step_of, reverse=True)
    latest = root / LATEST
    if latest.is_file() and latest.read_text() in names:
        names.sort(key=lambda name: name != latest.read_text())
    return names


def best_name(root: Path) -> str | None:
    """The checkpoint with the highest score; the earlier one where scores are equal."""
    scored: Iterable[tuple[float, int, str]] = (
        (record["score"], -step_of(name), name)
        for name in newest_first(root)
        if (record := read_record(root / name / COMPLETE)) and record.get("score") is not None
    )
    return max(scored, default=(0.0, 0, None))[2]


def step_of(name: str) -> int:
    return int(name.removeprefix("step_"))


def write_durably(path: Path, text: str) -> None:
    """Write and move into place, so that a reader (or a crash) sees the old text or the new."""
    scratch = path.with_name(path.name + PARTIAL_SUFFIX)
    with scratch.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
