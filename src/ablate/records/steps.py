"""What each step of a run leaves on disk: metrics, rollouts, evaluation rows."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from ablate.errors import UserError
from ablate.files import write_atomic
from ablate.files.parquet import read_columns, read_parquet, write_parquet
from ablate.types import EvalRow


class StepRecords:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.metrics_path = path / "metrics.jsonl"
        self.rollouts_path = path / "rollouts"
        self.failed_tests_path = path / "failed_tests"
        self.eval_path = path / "eval.parquet"
        self.eval_samples_path = path / "eval_samples"

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
            UserError: for a broken line before the last, because the lines that follow it must not be lost.
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

    def failed_tests_file(self, step: int) -> Path:
        return self.failed_tests_path / self.rollouts_file(step).name

    def write_failed_tests(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write what each program of a step answered to the first test that it failed; no rows leave no file."""
        if rows:
            write_parquet(self.failed_tests_file(step), rows)
        else:
            self.failed_tests_file(step).unlink(missing_ok=True)

    def failed_tests(self, step: int) -> dict[int, dict[str, Any]]:
        """The rows of ``write_failed_tests`` by rollout; older records have none."""
        path = self.failed_tests_file(step)
        return {row["rollout"]: row for row in read_parquet(path)} if path.exists() else {}

    def append_eval(self, rows: Iterable[EvalRow]) -> None:
        old = read_parquet(self.eval_path) if self.eval_path.exists() else []
        write_parquet(self.eval_path, [*old, *(asdict(row) for row in rows)])

    def eval_rows(self) -> list[EvalRow]:
        rows = read_parquet(self.eval_path) if self.eval_path.exists() else []
        needed = {field.name for field in fields(EvalRow)}
        if rows and not needed <= rows[0].keys():
            missing = ", ".join(sorted(needed - rows[0].keys()))
            raise UserError(
                f"{self.eval_path} was written by another version: it has no {missing}: use the commit that "
                "manifest.json next to it names"
            )
        return [EvalRow(**{name: row[name] for name in needed}) for row in rows]

    def eval_samples_file(self, step: int, context: int) -> Path:
        """Where the finished samples of an evaluation are kept; ``rollout/kept_samples.py`` reads and writes it."""
        return self.eval_samples_path / f"step_{step:05d}_{context}.jsonl"

    def drop_eval_samples(self, keep_step: int | None = None) -> None:
        """Remove the samples of every evaluation but that of ``keep_step``."""
        for path in self.eval_samples_path.glob("step_*.jsonl"):
            if keep_step is None or not path.name.startswith(f"step_{keep_step:05d}_"):
                path.unlink()
        if keep_step is None and self.eval_samples_path.exists():
            self.eval_samples_path.rmdir()

    def vouched(self, step: int, is_evaluated: bool) -> dict[str, Any]:
        """The records that a checkpoint of ``step`` vouches for, as JSON values; ``lacking`` looks for them.

        Args:
            is_evaluated: as in ``keep_through``.
        """
        last = step if is_evaluated else step - 1
        lines = {row["step"]: line for line, row in self._metric_lines() if row["step"] <= last}
        folders = (self.rollouts_path, self.failed_tests_path)
        files = [path for folder in folders for path in sorted(folder.glob("step_*.parquet")) if step_of(path) <= step]
        return {
            "metrics": {"steps": list(lines), "digest": digest(lines.values())},
            "rollouts": {str(path.relative_to(self.path)): path.stat().st_size for path in files},
            "eval_rows": self._counted_eval_rows(last),
        }

    def lacking(self, vouched: Mapping[str, Any], rollouts: bool) -> str | None:
        """What is missing of ``vouched``, in words; None if everything is here.

        Args:
            rollouts: whether the rollouts must be here as well.
        """
        metrics = vouched["metrics"]
        lines = {row["step"]: line for line, row in self._metric_lines() if row["step"] in metrics["steps"]}
        if missing := [step for step in metrics["steps"] if step not in lines]:
            return f"{self.metrics_path.name} has no line of step {missing[0]}"
        if digest(lines.values()) != metrics["digest"]:
            return f"{self.metrics_path.name} does not hold the lines that were written"
        for name, size in vouched["rollouts"].items() if rollouts else ():
            path = self.path / name
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != size:
                return f"{name} has {path.stat().st_size} bytes, {size} were written"
        try:
            here = self._counted_eval_rows(None) if vouched["eval_rows"] else {}
        except UserError as error:
            return str(error).partition(":")[0]
        for name, count in vouched["eval_rows"].items():
            if here.get(name, 0) < count:
                step, context = name.split("/")
                rows = f"{here.get(name, 0)} of {count} rows"
                return f"{self.eval_path.name} has {rows} of step {step} at {context} tokens"
        return None

    def _counted_eval_rows(self, step: int | None) -> dict[str, int]:
        """Rows of eval.parquet as "step/context": how many; ``step``: the last one that counts."""
        rows = read_columns(self.eval_path, ["step", "context"]) if self.eval_path.exists() else []
        return Counter(f"{row['step']}/{row['context']}" for row in rows if step is None or row["step"] <= step)

    def keep_through(self, step: int, is_evaluated: bool = True) -> list[str]:
        """Drop the records of later steps, and what a kill left half-written; return a sentence for each repair.

        Args:
            is_evaluated: false if the evaluation of ``step`` itself was interrupted: its metrics and evaluation rows
                will then be written again.
        """
        last = step if is_evaluated else step - 1
        repairs = [*self._keep_metrics(last), *self._keep_rollouts(step), *self._keep_eval_rows(last)]
        for path in self.eval_samples_path.glob("step_*.jsonl"):
            # Samples of a later step may come from weights that this attempt will not have; step 0 is the model's own.
            if int(path.name.split("_")[1]) > max(step, 0):
                path.unlink()
        for folder in (self.path, self.rollouts_path, self.failed_tests_path):
            for scratch in folder.glob(".*.[0-9]*"):
                scratch.unlink()
        return repairs

    def _keep_metrics(self, step: int) -> Iterator[str]:
        kept = [line for line, row in self._metric_lines() if row["step"] <= step]
        text = "".join(line + "\n" for line in kept)
        if self.metrics_path.exists() and self.metrics_path.read_text() != text:
            write_atomic(self.metrics_path, text)
            yield f"{self.metrics_path.name}: kept {len(kept)} whole lines up to step {step}"

    def _keep_rollouts(self, step: int) -> Iterator[str]:
        for path in sorted(self.rollouts_path.glob("*.parquet")):
            if step_of(path) > step:
                path.unlink()
                (self.failed_tests_path / path.name).unlink(missing_ok=True)
                yield f"{path.name}: removed, because its step is later than {step}"

    def _keep_eval_rows(self, step: int) -> Iterator[str]:
        try:
            rows = self.eval_rows()
        except UserError:
            if any(name.startswith("eval/") for row in self.metrics() for name in row):
                raise
            self.eval_path.unlink()  # of an evaluation that is not recorded, and will be repeated
            yield f"{self.eval_path.name}: removed, because it is not readable"
            return
        early = [row for row in rows if row.step <= step]
        if len(early) < len(rows):
            self.eval_path.unlink()
            if early:
                self.append_eval(early)
            yield f"{self.eval_path.name}: kept {len(early)} of {len(rows)} rows, up to step {step}"


def step_of(rollouts_file: Path) -> int:
    return int(rollouts_file.stem.removeprefix("step_"))


def digest(lines: Iterable[str]) -> str:
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()


def parsed(line: str) -> dict[str, Any] | None:
    """A line of metrics.jsonl; None if it is broken."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and "step" in row else None
