"""A run's directory: who works on it, how far it is, and the records of its steps."""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Any

from ablate.config import RunConfig
from ablate.errors import UserError
from ablate.files import write_atomic
from ablate.records.files import read_parquet, write_parquet
from ablate.types import EvalRow

CONFIG_FILE = "config.yaml"
STATUSES = ("running", "preempted", "failed", "done")


@dataclass(frozen=True)
class CellState:
    """What a look at a run directory tells: missing | queued | running | preempted | interrupted | failed | done."""

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
        self.manifest_path = path / "manifest.json"
        self.metrics_path = path / "metrics.jsonl"
        self.rollouts_path = path / "rollouts"
        self.eval_path = path / "eval.parquet"
        self.selected_path = path / "selected.json"
        self.checkpoints_path = path / "checkpoints"
        self.diff_path = path / "dirty.diff"
        self.trace_path = path / "trace.json"
        self.heartbeat_path = path / "heartbeat.json"
        self.queued_path = path / "queued"
        self.lock_path = path / "lock"
        self._lock: IO[str] | None = None

    # --- who owns the directory -------------------------------------------------------------------------------------

    def lock(self) -> None:
        """Take the directory for this process.

        Raises:
            UserError: if another process holds it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        file = self.lock_path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            file.close()
            raise UserError(
                f"{self.path} is being worked on by {holder}: wait for it, or end it and start again"
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        self._lock = file

    def unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def claim(self, config_yaml: str, changes: Sequence[str]) -> None:
        """Write the configuration of a new run, or refuse to continue another one's.

        Args:
            config_yaml: the resolved configuration.
            changes: ``key: old -> new`` for every key in which a configuration already here differs.
        """
        if changes:
            shown = "; ".join(changes[:4]) + (f" and {len(changes) - 4} more" if len(changes) > 4 else "")
            raise UserError(
                f"{self.path} holds a run with another configuration ({shown}): give this one its own cell=NAME, "
                "or remove that directory"
            )
        if not self.config_path.exists():
            write_atomic(self.config_path, config_yaml)

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

    def state(self, waiting_tasks: Set[str] = frozenset()) -> CellState:
        """Look at the directory without touching it: the lock tells a running process from a killed one.

        Args:
            waiting_tasks: what the scheduler has in its queue, each as "JOB_TASK".
        """
        if self.queued_path.exists() and self.queued_path.read_text() in waiting_tasks and not self.is_locked():
            return CellState("queued", f"task {self.queued_path.read_text()}")
        manifest = self.manifest()
        if not manifest:
            return CellState("missing")
        heartbeat = json.loads(self.heartbeat_path.read_text()) if self.heartbeat_path.exists() else {}
        position = "step {step}/{num_steps} at {time} on {host}".format(**heartbeat) if heartbeat else ""
        if manifest["status"] == "running":
            return CellState("running" if self.is_locked() else "interrupted", position)
        return CellState(manifest["status"], position, manifest.get("error"))

    def mark_queued(self, task: str) -> None:
        write_atomic(self.queued_path, task)

    # --- manifest ---------------------------------------------------------------------------------------------------

    def manifest(self) -> dict[str, Any]:
        return json.loads(self.manifest_path.read_text()) if self.manifest_path.exists() else {}

    @property
    def status(self) -> str:
        """missing | running | preempted | failed | done, as the last attempt left it."""
        return self.manifest().get("status", "missing")

    def begin_attempt(self, facts: Mapping[str, Any], dirty_diff: str) -> None:
        """Note that a process starts to work here, with what it runs: commit, packages, uncommitted changes."""
        self._write_trace(closed=False)
        manifest = self.manifest()
        if dirty_diff:
            write_atomic(self.diff_path, dirty_diff)
        attempts = [*manifest.get("attempts", []), {"start": now(), **facts}]
        first = {key: value for key, value in facts.items() if key not in manifest}
        self._write_manifest({**first, **manifest, "status": "running", "error": None, "attempts": attempts})

    def end_attempt(self, status: str, error: str | None = None) -> None:
        assert status in STATUSES, status
        manifest = self.manifest()
        manifest["attempts"][-1] |= {"stop": now(), "status": status}
        self._write_manifest({**manifest, "status": status, "error": error})
        self.heartbeat_path.unlink(missing_ok=True)
        if status == "done":
            self._write_trace(closed=True)

    def _write_manifest(self, manifest: Mapping[str, Any]) -> None:
        write_atomic(self.manifest_path, json.dumps(manifest, indent=2) + "\n")

    def beat(self, step: int, num_steps: int) -> None:
        heartbeat = {"step": step, "num_steps": num_steps, "time": now(), "pid": os.getpid()}
        write_atomic(self.heartbeat_path, json.dumps({**heartbeat, "host": socket.gethostname()}))

    # --- records of a step ------------------------------------------------------------------------------------------

    def append_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        line = json.dumps({"step": step, **{name: metrics[name] for name in sorted(metrics)}})
        with self.metrics_path.open("a") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())

    def metrics(self) -> list[dict[str, float]]:
        return [row for _, row in self._metric_lines()]

    def _metric_lines(self) -> Iterator[tuple[str, dict[str, float]]]:
        """Whole lines only: a run that was killed can leave half a line at the end.

        Raises:
            UserError: for a broken line before the last; what follows it must not be lost.
        """
        if not self.metrics_path.exists():
            return
        lines = self.metrics_path.read_text(errors="replace").splitlines()
        for number, line in enumerate(lines, start=1):
            row = parsed(line)
            if row is not None:
                yield line, row
            elif number < len(lines):
                raise UserError(f"{self.metrics_path}, line {number}, has no JSON object with a step: fix or remove it")

    def rollouts_file(self, step: int) -> Path:
        return self.rollouts_path / f"step_{step:05d}.parquet"

    def write_rollouts(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        write_parquet(self.rollouts_file(step), rows)

    def append_eval(self, rows: Iterable[EvalRow]) -> None:
        old = read_parquet(self.eval_path) if self.eval_path.exists() else []
        write_parquet(self.eval_path, [*old, *(asdict(row) for row in rows)])

    def eval_rows(self) -> list[EvalRow]:
        rows = read_parquet(self.eval_path) if self.eval_path.exists() else []
        columns = [field.name for field in fields(EvalRow)]  # an older file has one more, which follows from others
        return [EvalRow(**{name: row[name] for name in columns}) for row in rows]

    def write_selected(self, selected: Mapping[str, Any]) -> None:
        """Record which checkpoint was selected, and by which scores; ``Session.finish`` says what it holds."""
        write_atomic(self.selected_path, json.dumps(selected, indent=2) + "\n")

    def selected(self) -> dict[str, Any] | None:
        """What ``write_selected`` recorded; None for a run that selected nothing or has not finished."""
        return json.loads(self.selected_path.read_text()) if self.selected_path.exists() else None

    def keep_records_through(self, step: int) -> list[str]:
        """Drop every record of a later step, and what a kill left half-written; return a sentence for each repair."""
        repairs = []
        kept = [(line, row) for line, row in self._metric_lines() if row["step"] <= step]
        text = "".join(line + "\n" for line, _ in kept)
        if self.metrics_path.exists() and self.metrics_path.read_text() != text:
            repairs.append(f"{self.metrics_path.name}: kept {len(kept)} whole lines up to step {step}")
            write_atomic(self.metrics_path, text)
        for path in sorted(self.rollouts_path.glob("*.parquet")):
            if int(path.stem.removeprefix("step_")) > step:
                path.unlink()
                repairs.append(f"{path.name}: later than step {step}, removed")
        rows = self.eval_rows()
        early = [row for row in rows if row.step <= step]
        if len(early) < len(rows):
            repairs.append(f"{self.eval_path.name}: kept {len(early)} of {len(rows)} rows, up to step {step}")
            self.eval_path.unlink()
            if early:
                self.append_eval(early)
        for scratch in [*self.path.glob(".*.[0-9]*"), *self.rollouts_path.glob(".*.[0-9]*")]:
            scratch.unlink()
        return repairs

    # --- seconds ----------------------------------------------------------------------------------------------------

    @contextmanager
    def timed(self, name: str, step: int) -> Iterator[None]:
        """Add a span to the trace. Times live here, and not in the metrics, because they differ between equal runs."""
        start = time.time()
        try:
            yield
        finally:
            span = {"name": name, "ph": "X", "ts": start * 1e6, "dur": (time.time() - start) * 1e6, "pid": 0, "tid": 0}
            # While a run goes on its trace lacks the closing bracket, as the Chrome format allows: it is appended to.
            opening = "" if self.trace_path.exists() else "[\n"
            with self.trace_path.open("a") as file:
                file.write(opening + json.dumps({**span, "args": {"step": step}}) + ",\n")

    def spans(self) -> list[dict[str, Any]]:
        """The spans of the trace, whether it is closed or not; a span that a kill left half-written is left out."""
        if not self.trace_path.is_file():
            return []
        lines = self.trace_path.read_text(errors="replace").splitlines()
        return [span for line in lines if (span := parsed_span(line)) is not None]

    def _write_trace(self, closed: bool) -> None:
        """Write the whole spans again: as valid JSON, or open to be appended to."""
        if not self.trace_path.is_file():
            return
        lines = [json.dumps(span) for span in self.spans()]
        text = ",\n".join(lines) + "\n]\n" if closed else "".join(line + ",\n" for line in lines)
        write_atomic(self.trace_path, "[\n" + text)


def parsed_span(line: str) -> dict[str, Any] | None:
    try:
        span = json.loads(line.rstrip().removesuffix(","))
    except ValueError:
        return None
    return span if isinstance(span, dict) else None


def parsed(line: str) -> dict[str, Any] | None:
    """A line of metrics.jsonl; None if it is broken."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and "step" in row else None


def run_path(config: RunConfig) -> Path:
    """The directory is a function of the configuration, so that the same cell always finds its own records."""
    return Path(config.paths.outputs) / config.experiment / config.cell / f"seed{config.seed}"


def checkpoint_directory(checkpoint: Path) -> Path:
    """The checkpoint that ``checkpoint=`` means: itself, what ``latest`` or ``best`` names, or the best one of a run.

    Args:
        checkpoint: ``RUN/checkpoints/step_…``, ``RUN/checkpoints/latest`` or ``best``, or ``RUN``: then the best
            checkpoint, or the newest one while none is known to be the best.

    Raises:
        UserError: when there is no checkpoint of a run.
    """
    if (checkpoint / CONFIG_FILE).is_file():
        names = [checkpoint / "checkpoints" / name for name in ("best", "latest")]
        checkpoint = next((name for name in names if name.is_file()), names[0])
    is_name = checkpoint.name in ("latest", "best") and checkpoint.is_file()
    named = checkpoint.parent / checkpoint.read_text().strip() if is_name else checkpoint
    fix = "name a run, or a directory checkpoints/step_… of a run"
    if not named.is_dir():
        raise UserError(f"checkpoint={checkpoint} does not exist: {fix}")
    if not re.fullmatch(r"step_\d+", named.name) or named.resolve().parent.name != "checkpoints":
        raise UserError(f"checkpoint={checkpoint} is not a checkpoint: {fix}")
    return named


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
