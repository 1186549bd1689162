"""The texts of evaluation samples: a parquet file for each evaluated step and context, with a row for each sample."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from ablate.files.parquet import read_columns, read_parquet, write_parquet
from ablate.records.groups import failed_rows, of_problem, of_verdict, storable
from ablate.types import RolloutGroup


class EvalTexts:
    """``eval_texts/step_00040_320.parquet`` of a run: what the weights after step 40 answered at 320 tokens.

    What a program answered to the test that it failed is in a file of the same name under ``failed_tests/``, because
    it may differ between equal runs. The rows of held-out problems are not kept.
    """

    def __init__(self, run: Path) -> None:
        self.folder, self.failed_folder = run / "eval_texts", run / "failed_tests"

    def file(self, step: int, context: int) -> Path:
        return self.folder / f"step_{step:05d}_{context}.parquet"

    def failed_file(self, step: int, context: int) -> Path:
        return self.failed_folder / f"eval_{step:05d}_{context}.parquet"

    def write(self, step: int, context: int, answered: Sequence[RolloutGroup]) -> None:
        """Write the samples of one evaluation, problem by problem."""
        failed = list(failed_rows(answered, "row"))
        if failed:
            write_parquet(self.failed_file(step, context), failed)
        else:
            self.failed_file(step, context).unlink(missing_ok=True)
        write_parquet(self.file(step, context), list(text_rows(answered)))

    def kept(self) -> list[tuple[int, int]]:
        """(step, context) of every file, in order."""
        names = (path.stem.split("_") for path in self.folder.glob("step_*_*.parquet"))
        return sorted((int(step), int(context)) for _, step, context in names)

    def rows(self, step: int, context: int, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """The rows of a file; raises ``UserError`` for a damaged one."""
        path = self.file(step, context)
        return read_parquet(path) if columns is None else read_columns(path, columns)

    def failed_tests(self, step: int, context: int) -> dict[int, dict[str, Any]]:
        """What each program answered to the first test that it failed, by the number of its row."""
        path = self.failed_file(step, context)
        return {row["row"]: row for row in read_parquet(path)} if path.exists() else {}

    def keep(self, steps: Collection[int]) -> None:
        """Remove the files of all other steps."""
        for step, context in self.kept():
            if step not in steps:
                self.file(step, context).unlink()
                self.failed_file(step, context).unlink(missing_ok=True)

    def keep_through(self, step: int) -> None:
        """Remove the files of later steps, and what a kill left half-written."""
        self.keep([kept for kept, _ in self.kept() if kept <= step])
        for scratch in self.folder.glob(".*.[0-9]*"):
            scratch.unlink()


def text_rows(answered: Sequence[RolloutGroup]) -> Iterator[dict[str, Any]]:
    """One row for each sample."""
    for each in answered:
        for completion, verdict in zip(each.completions, each.verdicts, strict=True):
            own = {
                "text": storable(completion.text),
                "num_tokens": len(completion.response_ids),
                "finished": completion.finished,
            }
            yield of_problem(each.problem, completion) | own | of_verdict(verdict)
