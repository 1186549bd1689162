"""Are two directories of runs the same? Exact values of metrics.jsonl, rollouts and evaluation rows, run by run.

    python benchmarks/same_records.py outputs_before/tiny outputs_after/tiny

``RENAMED`` holds the keys and columns that the project has renamed since the first directory was written, so that a
change of names can be shown to have changed no number. The exit code is 1 if anything differs.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

# (pattern in a key, replacement), applied in order to the keys of the first directory.
RENAMED = (
    (r"^(eval/.*)/x1(/.*)?$", r"\1/160\2"),  # a context factor of a training context of 160 tokens
    (r"^(eval/.*)/x2(/.*)?$", r"\1/320\2"),
    (r"^optimizer_step$", "update"),
)
REMOVED = ("context_factor",)  # columns that follow from others
ADDED = ("statement", "prompt")  # columns that older records lack


def renamed(row: dict[str, Any]) -> dict[str, Any]:
    """The row under today's names."""
    result = {}
    for key, value in row.items():
        for pattern, replacement in RENAMED:
            key = re.sub(pattern, lambda match, text=replacement: match.expand(text), key)
        if key not in REMOVED:
            result[key] = value
    return result


def rows_of(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    return pq.read_table(path).to_pylist()


def records(run: Path) -> list[Path]:
    """The files of a run that are a function of its configuration, relative to its directory."""
    found = [run / "metrics.jsonl", run / "eval.parquet", *run.glob("rollouts/*.parquet")]
    return sorted(path.relative_to(run) for path in found if path.exists())


def unequal_records(before: Path, after: Path) -> Iterator[str]:
    """One sentence for each file that differs, with the first key that does."""
    for name in sorted({*records(before), *records(after)}):
        if not (before / name).exists() or not (after / name).exists():
            yield f"{name}: only one of the two runs has it"
            continue
        old, new = [renamed(row) for row in rows_of(before / name)], rows_of(after / name)
        if len(old) != len(new):
            yield f"{name}: {len(old)} rows before, {len(new)} after"
            continue
        for index, (left, right) in enumerate(zip(old, new, strict=True)):
            known = {*left, *right} - {key for key in ADDED if key not in left}
            keys = [key for key in sorted(known) if left.get(key) != right.get(key)]
            if keys:
                key = keys[0]
                yield f"{name} row {index}, {len(keys)} keys: {key} was {left.get(key)!r}, is {right.get(key)!r}"
                break


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    before, after = (Path(word) for word in sys.argv[1:])
    runs = sorted(path.parent.relative_to(before) for path in before.rglob("metrics.jsonl"))
    if not runs:
        sys.exit(f"{before} holds no metrics.jsonl: name a directory of runs")
    num_different = 0
    for run in runs:
        found = list(unequal_records(before / run, after / run))
        num_different += bool(found)
        print(f"{run}: {len(records(before / run))} files, {'the same' if not found else 'different'}")
        print("".join(f"  {sentence}\n" for sentence in found), end="")
    sys.exit(1 if num_different else 0)


if __name__ == "__main__":
    main()
