"""The directory of a run: its configuration, its owner, its manifest, the records of its steps and its trace."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.config import RunConfig
from ablate.errors import UserError
from ablate.files import read_json, read_yaml, write_atomic
from ablate.records.eval_texts import EvalTexts
from ablate.records.manifest import Manifest
from ablate.records.owner import Owner
from ablate.records.steps import StepRecords
from ablate.records.trace import Trace

CONFIG_FILE = "config.yaml"


@dataclass(frozen=True)
class StateOnDisk:
    """A run directory from outside: missing | queued | running | preempted | interrupted | failed | done."""

    name: str
    position: str = ""  # such as "step 12/40"
    error: str | None = None

    @property
    def needs_a_run(self) -> bool:
        return self.name not in ("running", "queued", "done")


class RunDirectory:
    """One cell and seed on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_path = path / CONFIG_FILE
        self.selected_path = path / "selected.json"
        self.checkpoints_path = path / "checkpoints"
        self.owner = Owner(path)
        self.manifest = Manifest(path)
        self.steps = StepRecords(path)
        self.eval_texts = EvalTexts(path)
        self.trace = Trace(path)

    def config(self) -> dict[str, Any]:
        """The configuration that the directory belongs to.

        Raises:
            UserError: if the file is damaged.
        """
        return read_yaml(self.config_path)

    def config_yaml(self) -> str:
        """The text of ``config``; raises as ``config`` does."""
        self.config()
        return self.config_path.read_text(encoding="utf-8")

    def claim(self, config_yaml: str, changes: Sequence[str]) -> None:
        """Write the configuration of a new run, or refuse to continue a run with another configuration.

        Args:
            config_yaml: the resolved configuration.
            changes: ``key: old -> new`` for every key in which the configuration already here differs.
        """
        if changes and self.holds_work():
            raise UserError(
                f"{self.path} holds a run with another configuration ({shown_changes(changes)}): give this one its own "
                "cell=NAME, or remove that directory"
            )
        if changes:
            self.manifest.path.unlink(missing_ok=True)  # it is about attempts with the other configuration
        if changes or not self.config_path.exists():
            write_atomic(self.config_path, config_yaml)

    def holds_work(self) -> bool:
        """Whether a step or a checkpoint is here: a start that failed before the first one may be made differently."""
        return bool(self.steps.metrics()) or any(self.checkpoints_path.glob("step_*"))

    def state(self, waiting_tasks: Set[str] = frozenset()) -> StateOnDisk:
        """Look at the directory without touching it: the lock distinguishes a running process from a killed one.

        Args:
            waiting_tasks: the tasks in the scheduler's queue, each as "JOB_TASK".
        """
        task = self.owner.queued_task(waiting_tasks)
        if task is not None:
            return StateOnDisk("queued", f"task {task}")
        manifest = self.manifest.read()
        if not manifest:
            return StateOnDisk("missing")
        position = self.owner.position()
        status = manifest.get("status", "unknown")
        if status == "running":
            return StateOnDisk("running" if self.owner.is_locked() else "interrupted", position)
        return StateOnDisk(status, position, manifest.get("error"))

    @property
    def status(self) -> str:
        return self.manifest.status

    def begin_attempt(self, facts: Mapping[str, Any], dirty_diff: str) -> None:
        """Record in the manifest that a process starts to work here, and make the trace ready for more spans."""
        self.trace.rewrite(closed=False)
        self.manifest.begin_attempt(facts, dirty_diff)

    def end_attempt(self, status: str, error: str | None = None) -> None:
        """Record how the attempt ended; the trace of a finished run becomes valid JSON."""
        self.manifest.end_attempt(status, error)
        self.owner.stop_beating()
        if status == "done":
            self.trace.rewrite(closed=True)
            self.steps.drop_eval_samples()

    def write_selected(self, selected: Mapping[str, Any]) -> None:
        """Record which checkpoint was selected, and by which scores; see ``session.evaluation.finish``."""
        write_atomic(self.selected_path, json.dumps(selected, indent=2) + "\n")

    def selected(self) -> dict[str, Any] | None:
        """What ``write_selected`` recorded; None for a run that selected nothing or has not finished."""
        return read_json(self.selected_path) if self.selected_path.exists() else None


def run_path(config: RunConfig) -> Path:
    """The directory is a function of the configuration, so that the same cell always finds its own records."""
    return Path(config.paths.outputs) / config.experiment / config.cell / f"seed{config.seed}"


def shown_changes(changes: Sequence[str]) -> str:
    """The first few of the changes, each ``key: old -> new``, in one line."""
    return "; ".join(changes[:4]) + (f" and {len(changes) - 4} more" if len(changes) > 4 else "")
