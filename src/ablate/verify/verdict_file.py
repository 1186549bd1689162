"""Verdicts as a JSONL file that a later run continues."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ablate.errors import UserError
from ablate.files import write_atomic
from ablate.types import Verdict, VerdictKind

OPTIONAL = ("passed_second", "failed_input", "expected", "got")  # in the line only where the verdict has them


def verdict_row(problem_id: str, file: str, key: str, verdict: Verdict) -> dict[str, Any]:
    return {
        "id": problem_id,
        "file": file,
        "verdict": verdict.kind.value,
        "passed": verdict.passed,
        "num_passed": verdict.num_passed,
        "num_tests": verdict.num_tests,
        "first_failed": verdict.first_failed,
        "cpu_s": round(verdict.cpu_s, 6),
        "wall_s": round(verdict.wall_s, 6),
        "peak_mib": round(verdict.peak_mib, 3),
        "detail": verdict.detail,
        **{name: value for name in OPTIONAL if (value := getattr(verdict, name)) is not None},
        "key": key,
    }


def keep_finished(out: Path) -> set[str]:
    """Drop the lines that an earlier run left half-written or could not decide; return the keys of the others.

    Raises:
        UserError: if the file contains anything but verdicts; it is left as it is.
    """
    kept, keys = [], set()
    lines = out.read_bytes().splitlines(keepends=True) if out.exists() else []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            finished = row["verdict"] != VerdictKind.infrastructure_error
            if finished:
                keys.add(row["key"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            is_torn = number == len(lines) and line.startswith(b"{") and not line.endswith(b"\n")
            if is_torn and isinstance(error, ValueError):
                continue
            raise UserError(
                f"out={out} contains lines that are not verdicts (line {number}) and would be overwritten: "
                "name another file, or remove this one"
            ) from None
        if finished:
            kept.append(line)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(out, b"".join(kept).decode())
    return keys
