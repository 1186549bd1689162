"""Work in progress in ``out.partial``: what it belongs to, and the lock of the process that does it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from ablate.config import VerifyConfig
from ablate.curate.blocks import BLOCK_BYTES, BLOCK_ROWS
from ablate.curate.inputs import Input, file_stamps
from ablate.curate.settings import CurateConfig
from ablate.errors import UserError
from ablate.files import write_atomic

Share = tuple[int, int]  # this job of an array, and how many there are
CODE = Path(__file__).parents[1]
DECODERS = ("sources", "curate")  # packages whose code decides what a block holds
# Settings of the verifier that no verdict depends on.
NOT_IN_A_VERDICT = ("workers", "queue_size", "container", "cache", "cache_dir", "retries", "second_comparison")


def verdict_settings(config: VerifyConfig) -> dict[str, Any]:
    """The settings of the verifier that a verdict depends on."""
    return {name: value for name, value in asdict(config).items() if name not in NOT_IN_A_VERDICT}


def verdict_identity(config: VerifyConfig) -> str:
    """A hash of ``verdict_settings``: a decision that programs made under other settings is made again."""
    return hashlib.sha256(json.dumps(verdict_settings(config), sort_keys=True).encode()).hexdigest()[:16]


def code_digest() -> str:
    paths = sorted(path for package in DECODERS for path in (CODE / package).rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:16]


def open_partial(partial: Path, config: CurateConfig, inputs: list[Input]) -> Path:
    """Begin or continue the work in ``partial`` and return the directory of its blocks.

    How many rows a source must have is no part of the work: a number that was wrong can be corrected.

    Raises:
        UserError: when another configuration, other data or another version of the code began it.
    """
    described = {
        "sources": {each.name: each.described() for each in inputs},
        "files": file_stamps(inputs),
        "train": asdict(config.train),
        "references": asdict(config.references),
        "block": [BLOCK_ROWS, BLOCK_BYTES],
        "code": code_digest(),
    }
    text = json.dumps(described, indent=2, default=str) + "\n"
    path = partial / "work.json"
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise UserError(f"{partial} holds other work{difference(path, json.loads(text))}: repeat that, or remove it")
    (partial / "blocks").mkdir(parents=True, exist_ok=True)
    if not path.exists():
        write_atomic(path, text)
    return partial / "blocks"


def difference(path: Path, wanted: dict[str, Any]) -> str:
    """What an earlier command and this one differ in, such as ``: train.min_tests is 5 there and 4 here``."""
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return ", and its work.json is damaged"
    for name in sorted({*there, *wanted}):
        if there.get(name) == wanted.get(name):
            continue
        if name == "files":
            changed = [file for file, stamp in wanted[name].items() if there.get(name, {}).get(file) != stamp]
            return f", of files that have changed since, such as {(changed or ['one that is gone'])[0]}"
        if name == "code":
            return ", of another version of the code"
        old, new, key = there.get(name), wanted.get(name), name
        while isinstance(old, dict) and isinstance(new, dict):
            part = min(each for each in {*old, *new} if old.get(each) != new.get(each))
            old, new, key = old.get(part), new.get(part), f"{key}.{part}"
        return f", of another configuration: {key} is {old} there and {new} here"
    return ""


@contextmanager
def locked(out: Path, partial: Path, share: Share | None) -> Iterator[None]:
    """Hold the work in ``partial``: alone, or together with the other jobs of an array.

    Raises:
        UserError: naming the process that works there already, or when ``out`` appeared in the meantime.
    """
    existed = partial.exists()
    partial.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        whole = stack.enter_context((partial / "lock-whole").open("a+", encoding="utf-8"))
        take(whole, partial, exclusive=share is None)
        if share is not None:
            job = stack.enter_context((partial / f"lock-{share[0]}").open("a+", encoding="utf-8"))
            take(job, partial, exclusive=True)
        if out.exists():
            if not existed:
                shutil.rmtree(partial)
            raise UserError(f"out={out} exists already: name a new directory, or remove this one")
        yield


def take(file: IO[str], partial: Path, exclusive: bool) -> None:
    """Lock a file and write into it who has it."""
    try:
        fcntl.flock(file, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "another process"
        raise UserError(f"{holder} works in {partial}: wait for it, or end it and repeat this command") from None
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()
