"""Who works in a run directory: the lock of a process, its heartbeat, and the mark of a task that waits for a node."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Set
from pathlib import Path
from typing import IO

from ablate.errors import UserError
from ablate.files import write_atomic
from ablate.records.clock import now


class Owner:
    """The process that holds a run directory, or the scheduler's task that will."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock_path = path / "lock"
        self.heartbeat_path = path / "heartbeat.json"
        self.queued_path = path / "queued"
        self._lock: IO[str] | None = None

    def lock(self) -> None:
        """Take the directory for this process.

        Raises:
            UserError: if another process holds it, or it cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{self.path} cannot be made ({error.strerror.lower()}): change paths.outputs") from error
        file = self.lock_path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            file.close()
            raise UserError(f"{holder} is working in {self.path}: wait for it, or end it and start again") from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        self._lock = file

    def unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def is_locked(self) -> bool:
        """Whether a living process holds the directory."""
        if not self.lock_path.exists():
            return False
        with self.lock_path.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def beat(self, step: int, num_steps: int) -> None:
        heartbeat = {"step": step, "num_steps": num_steps, "time": now(), "pid": os.getpid()}
        write_atomic(self.heartbeat_path, json.dumps({**heartbeat, "host": socket.gethostname()}))

    def stop_beating(self) -> None:
        self.heartbeat_path.unlink(missing_ok=True)

    def position(self) -> str:
        """How far the run was at its last heartbeat, such as "step 12/40 at … on …"; empty if there is none."""
        if not self.heartbeat_path.exists():
            return ""
        return "step {step}/{num_steps} at {time} on {host}".format(**json.loads(self.heartbeat_path.read_text()))

    def mark_queued(self, task: str) -> None:
        write_atomic(self.queued_path, task)

    def queued_task(self, waiting_tasks: Set[str]) -> str | None:
        """The task that waits for a node to work here, if the directory is marked with one of ``waiting_tasks``."""
        task = self.queued_path.read_text() if self.queued_path.exists() else ""
        return task if task in waiting_tasks and not self.is_locked() else None
