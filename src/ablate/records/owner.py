"""Who works in a run directory: the lock of a process, its heartbeat, and the mark of a task that waits for a node."""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
import time
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ablate.errors import UserError
from ablate.files import read_json, write_atomic
from ablate.records.manifest import now

LOCK_PATIENCE_S = 5.0  # the kernel ends a killed process and its children within moments
POLL_S = 0.1


@dataclass(frozen=True)
class Holder:
    """The process that wrote its name into a lock file."""

    pid: int
    host: str

    def __str__(self) -> str:
        return f"process {self.pid or '(number unknown)'} on {self.host}"

    @classmethod
    def read(cls, text: str) -> Holder:
        """Read back ``str``; an empty file gives process 0 of this machine, which never exists."""
        match = re.fullmatch(r"process (\d+) on (.+)", text)
        return cls(int(match[1]), match[2]) if match else cls(0, socket.gethostname())

    def is_gone(self, lock_path: Path) -> bool:
        """Whether this machine can tell that the process no longer has the lock file open."""
        if self.host != socket.gethostname():
            return False
        try:
            return not any(same_file(open_file, lock_path) for open_file in Path(f"/proc/{self.pid}/fd").iterdir())
        except FileNotFoundError:
            return True
        except PermissionError:  # a process of another user
            return False


class Owner:
    """The process that holds a run directory, or the scheduler's task that will."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock_path = path / "lock"
        self.heartbeat_path = path / "heartbeat.json"
        self.queued_path = path / "queued"
        self._lock: IO[str] | None = None
        self._directory: int | None = None  # a descriptor, which stays with the directory when that is renamed

    def lock(self) -> None:
        """Take the directory for this process; wait some seconds for a lock whose process is gone.

        Raises:
            UserError: if another process holds it, or it cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{self.path} cannot be made ({error.strerror.lower()}): change paths.outputs") from error
        file = self.lock_path.open("a+")
        give_up_at = time.monotonic() + LOCK_PATIENCE_S
        while not is_taken(file):
            file.seek(0)
            holder = Holder.read(file.read())
            refusal = f"{holder} is working in {self.path}: wait for it, or end it and start again"
            if holder.is_gone(self.lock_path):
                if time.monotonic() < give_up_at:
                    time.sleep(POLL_S)
                    continue
                refusal = (
                    f"{holder} is gone, but a process that it started still holds {self.lock_path}: "
                    f"find that process with fuser -v {self.lock_path}, end it and start again"
                )
            file.close()
            raise UserError(refusal)
        file.truncate(0)
        file.write(str(Holder(os.getpid(), socket.gethostname())))
        file.flush()
        self._lock, self._directory = file, os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)

    def unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            os.close(self._directory)
            self._lock = self._directory = None

    def check_is_here(self) -> None:
        """Raise ``UserError`` if the directory that this process holds has another name now, or was removed."""
        if not self.is_here():
            raise UserError(
                f"{self.path} was renamed or removed while this run worked in it: give it its name back and repeat the "
                "command, which continues at the newest checkpoint"
            )

    def is_here(self) -> bool:
        """Whether the directory that this process holds, if it holds one, still has its name."""
        try:
            return self._directory is None or os.path.samestat(os.fstat(self._directory), self.path.stat())
        except OSError:
            return False

    def is_locked(self) -> bool:
        """Whether a living process holds the directory."""
        if not self.lock_path.exists():
            return False
        with self.lock_path.open("a") as file:
            return not is_taken(file)

    def beat(self, step: int, num_steps: int) -> None:
        heartbeat = {"step": step, "num_steps": num_steps, "time": now(), "pid": os.getpid()}
        write_atomic(self.heartbeat_path, json.dumps({**heartbeat, "host": socket.gethostname()}))

    def stop_beating(self) -> None:
        self.heartbeat_path.unlink(missing_ok=True)

    def position(self) -> str:
        """How far the run was at its last heartbeat, such as "step 12/40 at … on …"; empty if there is none."""
        if not self.heartbeat_path.exists():
            return ""
        beat = read_json(self.heartbeat_path)
        return f"step {beat.get('step')}/{beat.get('num_steps')} at {beat.get('time')} on {beat.get('host')}"

    def mark_queued(self, task: str) -> None:
        write_atomic(self.queued_path, task)

    def queued_task(self, waiting_tasks: Set[str]) -> str | None:
        """The task that waits for a node to work here, if the directory is marked with one of ``waiting_tasks``."""
        task = self.queued_path.read_text() if self.queued_path.exists() else ""
        return task if task in waiting_tasks and not self.is_locked() else None


def is_taken(file: IO[str]) -> bool:
    """Try to lock the file; False if another process has locked it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def same_file(open_file: Path, path: Path) -> bool:
    try:
        return open_file.samefile(path)
    except FileNotFoundError:  # closed in the meantime
        return False
