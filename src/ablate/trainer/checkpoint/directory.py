"""Checkpoints on disk: they survive a kill, a damaged disk and a change of layout.

A checkpoint is a directory that appears whole or not at all, also after a power cut::

    RUN/checkpoints/step_000010/
        *.distcp, common.pt, metadata.json, .metadata    Megatron's shards of weights and optimizer, for any layout
        extra.pt, or amended.pt    the loop's own state, ``session.state.RunState``
        complete.json              "files": size and hash of each; "facts": the configuration of its run, and the
                                   records up to its step, for which it vouches
    RUN/checkpoints/latest, best   name directories

A directory is checked before it is used.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from ablate.errors import UserError
from ablate.files import sync, sync_tree, write_atomic
from ablate.trainer.checkpoint import shards
from ablate.trainer.checkpoint.integrity import (
    COMPLETE,
    check_is_of_run,
    find_damage,
    fingerprint,
    fingerprints,
    read_record,
)
from ablate.trainer.parallel.world import World

EXTRA, AMENDED = "extra.pt", "amended.pt"
LATEST, BEST = "latest", "best"
PARTIAL_SUFFIX = ".partial"


@dataclass(frozen=True)
class Pending:
    """A checkpoint that is being written, under a name that no reader looks at."""

    root: Path
    step: int
    extra: dict[str, Any]
    facts: dict[str, Any]
    keep: int
    named: Sequence[int]
    best: int | None
    writing: shards.Writing

    @property
    def name(self) -> str:
        return name_of(self.step)

    @property
    def partial(self) -> Path:
        return self.root / (self.name + PARTIAL_SUFFIX)


class Checkpoints:
    """Saves and loads the state of one trainer. Every rank calls the methods in the same order.

    At most one save is under way: each method first waits for the one before.
    """

    def __init__(self, state: shards.TrainingState, world: World) -> None:
        self.state, self.world = state, world
        self.pending: Pending | None = None

    def save(
        self,
        root: Path,
        step: int,
        extra: dict[str, Any],
        *,
        keep: int,
        named: Sequence[int] = (),
        best: int | None,
        facts: dict[str, Any] | None = None,
        asynchronous: bool = False,
    ) -> None:
        """Write the state after ``step`` to a directory under ``root``.

        Args:
            extra: the loop's state: tensors, numbers, strings, and dicts, lists and tuples of them.
            facts: JSON values about the run and its records; only the leader's count.
            keep: number of the newest checkpoints that stay.
            named: steps whose checkpoints stay as well.
            best: the step whose checkpoint stays as well, and that the file ``best`` names.
            asynchronous: return while a thread still writes. The checkpoint counts after the first call of
                ``publish_if_written`` that finds all files on disk.
        """
        self.finish_save()
        root = Path(root)
        partial = root / (name_of(step) + PARTIAL_SUFFIX)

        def make_room() -> None:
            root.mkdir(parents=True, exist_ok=True)
            for leftover in root.glob(f"step_*{PARTIAL_SUFFIX}"):  # of a process that was killed
                shutil.rmtree(leftover)
            partial.mkdir()

        on_leader(self.world, make_room)
        writing = shards.write(self.state, partial, asynchronous)
        self.pending = Pending(root, step, copy.deepcopy(extra), facts or {}, keep, named, best, writing)
        if not asynchronous:
            self.finish_save()

    def amend(
        self,
        root: Path,
        step: int,
        changes: dict[str, Any],
        *,
        keep: int,
        named: Sequence[int] = (),
        best: int | None,
        facts: dict[str, Any] | None = None,
    ) -> None:
        """Change some of the loop's state in a checkpoint that is there; a kill leaves the old state or the new.

        Args:
            keep: as in ``save``, and ``named`` and ``best`` as well.
            facts: replace those of ``save``; None keeps them.
        """
        self.finish_save()

        def change() -> None:
            amend(Path(root) / name_of(step), changes, facts)
            name_and_prune(Path(root), keep, best, named)

        on_leader(self.world, change)

    def finish_save(self) -> None:
        """Wait for a save, if one is under way. Call it before the process ends."""
        if self.pending is not None:
            pending, self.pending = self.pending, None
            publish(pending, self.world)

    def publish_if_written(self) -> None:
        """Let an asynchronous save count as soon as every rank has written its files; do not wait for them."""
        if self.pending is not None:
            num_writing = torch.tensor(int(not self.pending.writing.is_done()))
            if self.world.sum_over_ranks(num_writing).item() == 0:
                self.finish_save()

    def discard_save(self) -> None:
        """Forget a save that is under way, once this rank writes no more: the run has failed."""
        if self.pending is not None:
            pending, self.pending = self.pending, None
            pending.writing.discard()

    def load(self, root: Path, step: int) -> dict[str, Any]:
        """Load the state after ``step``, written under this layout or another; return the loop's state.

        Raises:
            UserError: when the checkpoint is damaged, or of another run than ``root``.
        """
        self.finish_save()
        directory = Path(root) / name_of(step)
        if self.world.is_leader:
            check_is_of_run(directory)
        damage = find_damage(directory, self.world)
        if damage is not None:
            raise UserError(f"{directory} cannot be loaded: {damage}: name another checkpoint")
        return self._read(directory)

    def load_newest(
        self, root: Path, say: Callable[[str], None], fault_of: Callable[[dict[str, Any]], str | None] | None = None
    ) -> dict[str, Any] | None:
        """Load the newest undamaged checkpoint, ``say`` which ones are skipped and why; None if there is none.

        Args:
            fault_of: takes the facts of a checkpoint, and returns why it cannot be used; called on the leader.

        Raises:
            UserError: when one is of another run than ``root``.
        """
        self.finish_save()
        names = newest_first(Path(root))
        for name in names if self.world.is_leader else ():
            check_is_of_run(Path(root) / name)
        for name in self.world.broadcast(names):
            directory = Path(root) / name
            fault = None
            if self.world.is_leader:
                record = read_record(directory / COMPLETE) if fault_of else None
                fault = fault_of(record.get("facts", {})) if record else None
            fault = self.world.broadcast(fault) or find_damage(directory, self.world)
            if fault is None:
                return self._read(directory)
            if self.world.is_leader:
                say(f"checkpoint {name} is skipped: {fault}")
        return None

    def _read(self, directory: Path) -> dict[str, Any]:
        shards.read(self.state, directory)
        name = self.world.broadcast(extra_of(read_record(directory / COMPLETE)) if self.world.is_leader else None)
        return torch.load(directory / name, weights_only=True)


def publish(pending: Pending, world: World) -> None:
    """Wait for the files, record their hashes, move the checkpoint into place and remove what is not kept."""
    written = pending.writing.finish()
    on_leader(world, lambda: torch.save(pending.extra, pending.partial / EXTRA))
    files = fingerprints(pending.partial, world, written)

    def move_into_place() -> None:
        record = {"step": pending.step, "files": files, "facts": pending.facts}
        write_atomic(pending.partial / COMPLETE, json.dumps(record, indent=1))
        sync_tree(pending.partial)
        final = pending.root / pending.name
        if final.exists():  # made before a resumed run came here again
            shutil.rmtree(final)
        pending.partial.rename(final)
        sync(pending.root)
        write_atomic(pending.root / LATEST, pending.name)
        name_and_prune(pending.root, pending.keep, pending.best, pending.named)

    on_leader(world, move_into_place)


def amend(directory: Path, changes: dict[str, Any], facts: dict[str, Any] | None = None) -> None:
    """Write the changed state under a name of its own; it counts once ``complete.json`` says so."""
    record = read_record(directory / COMPLETE)
    old, new = extra_of(record), next(name for name in (EXTRA, AMENDED) if name != extra_of(record))
    torch.save(torch.load(directory / old, weights_only=True) | changes, directory / new)
    sync(directory / new)
    record["files"] = {name: each for name, each in record["files"].items() if name != old}
    record["files"][new] = fingerprint(directory / new)
    record |= {"extra": new, "facts": record.get("facts", {}) if facts is None else facts}
    write_atomic(directory / COMPLETE, json.dumps(record, indent=1))
    (directory / old).unlink()


def extra_of(record: dict[str, Any]) -> str:
    """The file that holds the loop's state."""
    return record.get("extra", EXTRA)


def name_and_prune(root: Path, keep: int, best: int | None, named: Sequence[int] = ()) -> None:
    """Let the file ``best`` name its checkpoint, and remove the checkpoints that are not kept."""
    kept = {*newest_first(root)[:keep], *map(name_of, named)}
    if best is not None:
        write_atomic(root / BEST, name_of(best))
        kept.add(name_of(best))
    for name in newest_first(root):
        if name not in kept:
            shutil.rmtree(root / name)


def on_leader(world: World, action: Callable[[], object]) -> None:
    """Run ``action`` on the leader while the others wait."""
    if world.is_leader:
        action()
    dist.barrier()


def newest_first(root: Path) -> list[str]:
    """Names of the checkpoints under ``root``, newest first; the one in ``latest`` comes before all others."""
    names = [path.name for path in root.glob("step_*") if path.is_dir() and path.suffix != PARTIAL_SUFFIX]
    latest = (root / LATEST).read_text() if (root / LATEST).is_file() else None
    return sorted(names, key=lambda name: (name == latest, step_of(name)), reverse=True)


def name_of(step: int) -> str:
    return f"step_{step:06d}"


def step_of(name: str) -> int:
    return int(name.removeprefix("step_"))
