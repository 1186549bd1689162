"""The runs of a sweep that failed, in the sentences that its last lines repeat."""

from __future__ import annotations

import sys


class RunFailed(Exception):
    """A run of a sweep failed in a process of its own, which has printed why."""


failed_runs: list[str] = []


def note_failure(sentence: str) -> None:
    """Print at once what Hydra would print only after the sweep, and keep it for the last lines."""
    failed_runs.append(sentence)
    print(f"error: {sentence}", file=sys.stderr, flush=True)


def print_failures() -> None:
    print(f"failed runs: {len(failed_runs)}", *failed_runs, sep="\n  ", file=sys.stderr)
