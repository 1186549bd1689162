"""The states of a sweep's runs, and what they lack."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence

from ablate.display import print_grid
from ablate.records import StateOnDisk
from ablate.sweep import PlannedRun


def missing_files_of(runs: Sequence[PlannedRun]) -> list[str]:
    from ablate.check_run import missing_files

    return list(dict.fromkeys(sentence for run in runs for sentence in missing_files(run.config)))


def waiting_tasks() -> frozenset[str]:
    """The array tasks in this user's SLURM queue, each as "JOB_TASK"; none where there is no SLURM."""
    if shutil.which("squeue") is None:
        return frozenset()
    command = ["squeue", "--me", "--noheader", "--array", "--states=PENDING,CONFIGURING,REQUEUED", "--format=%F_%K"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return frozenset(result.stdout.split()) if result.returncode == 0 else frozenset()


def shown(runs: Sequence[PlannedRun], states: Sequence[StateOnDisk], with_errors: bool) -> str:
    """One line per run."""
    width = max(len(str(run.directory)) for run in runs)
    lines = []
    for run, state in zip(runs, states, strict=True):
        lines.append(f"{run.directory!s:{width}}  {state.name:11}  {state.position}".rstrip())
        if with_errors and state.error:
            lines.append(f"{'':{width}}  {state.error.strip().splitlines()[-1]}")
    return "\n".join(lines)


def totals(states: Sequence[StateOnDisk]) -> str:
    """Such as "8 runs: 6 done, 2 missing"."""
    counts = Counter(state.name for state in states)
    return f"{len(states)} runs: {', '.join(f'{count} {name}' for name, count in counts.items())}"


def show_states(runs: Sequence[PlannedRun], states: Sequence[StateOnDisk], with_errors: bool) -> None:
    """Print a grid on a terminal; elsewhere, or with errors, one line per run. Then the totals."""
    if sys.stdout.isatty() and not with_errors:
        pairs = zip(runs, states, strict=True)
        print_grid({(run.config.cell, str(run.config.seed)): (state.name, state.position) for run, state in pairs})
    else:
        print(shown(runs, states, with_errors))
    print(totals(states))
