"""manifest.json: what ran in a run directory, in which attempts, and how the last attempt ended."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ablate.files import read_json, write_atomic

STATUSES = ("running", "preempted", "failed", "done")


def now() -> str:
    """The local time with its offset, such as 2026-05-17T09:30:00+0200."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


class Manifest:
    def __init__(self, path: Path) -> None:
        self.path = path / "manifest.json"
        self.diff_path = path / "dirty.diff"

    def read(self) -> dict[str, Any]:
        """The manifest; empty before the first attempt.

        Raises:
            UserError: if the file is damaged.
        """
        return read_json(self.path) if self.path.exists() else {}

    @property
    def status(self) -> str:
        """missing | running | preempted | failed | done, as the last attempt left it."""
        return self.read().get("status", "missing")

    def begin_attempt(self, facts: Mapping[str, Any], dirty_diff: str) -> None:
        """Record that a process starts to work here, and what it runs: commit, packages, uncommitted changes."""
        manifest = self.read()
        if dirty_diff:
            write_atomic(self.diff_path, dirty_diff)
        attempts = [*manifest.get("attempts", []), {"start": now(), **facts}]
        first = {key: value for key, value in facts.items() if key not in manifest}
        self._write({**first, **manifest, "status": "running", "error": None, "attempts": attempts})

    def end_attempt(self, status: str, error: str | None = None) -> None:
        assert status in STATUSES, status
        manifest = self.read()
        manifest["attempts"][-1] |= {"stop": now(), "status": status}
        self._write({**manifest, "status": status, "error": error})

    def _write(self, manifest: Mapping[str, Any]) -> None:
        write_atomic(self.path, json.dumps(manifest, indent=2) + "\n")
