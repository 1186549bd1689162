"""``python -m ablate.plan``: the runs of an experiment, their states, and the overrides of every array task.

    python -m ablate.plan experiment=tiny                     every run and its state: a grid on a terminal
    python -m ablate.plan experiment=tiny out=tasks.txt       a JSON list of overrides per run that is missing or failed
    python -m ablate.plan experiment=sequential next=true     what a design needs next, or its decision
    python -m ablate.plan experiment=tiny seed=0,1,2 model=…  any override of ablate.train, sweeps included

Every run is checked as ablate.train would check it: configuration, objective, layout. A missing data or model file is
a warning. The command's own keys are experiment=NAME (needed), status=true (also show why a run failed) and out=FILE.

slurm/submit.sh adds missing_files=error; queued=JOB, which says that the lines of out=FILE are now tasks 0, 1, ... of
that array; and the machine of one run: nodes=N processes_per_node=N gpus_per_node=N cpus_per_node=N
memory_per_node=900G, generation_nodes=N with servers that the job starts, gpus_that_generate=N of a trainer node,
time_limit_s=S and stop_lead_s=S. A run that this machine cannot run is refused. With device=NAME (see ablate.estimate)
a run that will probably not fit its memory or its times is a warning.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ablate.cli import hand_over, read_words, run_main
from ablate.display import print_grid
from ablate.errors import UserError
from ablate.estimate.cells import branches_sentence, check_starts, warnings_of
from ablate.estimate.settings import (
    MACHINE_KEYS,
    TIME_KEYS,
    count_of,
    estimate_settings,
    machine_of,
    without_settings,
)
from ablate.records import RunDirectory, StateOnDisk
from ablate.sweep import PlannedRun, planned_runs

OWN_KEYS = ("status", "out", "next", "queued", "missing_files", *MACHINE_KEYS, *TIME_KEYS)


def main() -> None:
    if "estimate=true" in sys.argv:  # a former command line
        foreign = (*(f"{key}=" for key in OWN_KEYS), "estimate=")
        words = [re.sub(r"^planner\b", "assumptions", word) for word in sys.argv[1:] if not word.startswith(foreign)]
        return hand_over("ablate.plan estimate=true", "ablate.estimate", words)
    words = read_words(__doc__, OWN_KEYS, required=("experiment",))
    own = words.own
    if own.get("missing_files", "warn") not in ("warn", "error"):
        raise UserError(f"missing_files={own['missing_files']} is not one of warn, error: choose one of them")
    if "queued" in own and "out" not in own:
        raise UserError("queued=JOB needs the list of tasks that was submitted: add out=FILE")
    overrides, of_estimate = without_settings(words.overrides)
    device, assumptions = estimate_settings(of_estimate)
    knows_device = any(word.startswith("device=") for word in of_estimate)
    machine = machine_of(own, device if knows_device else None)
    runs = planned_runs(overrides, machine and machine.num_processes, machine=machine)
    configs = [run.config for run in runs]
    if machine is not None:
        check_starts(configs, device, assumptions, machine, count_of(own, "time_limit_s", None))
    if knows_device:
        for sentence in warnings_of(configs, device, assumptions, own):
            print(f"warning: {sentence}", file=sys.stderr)
    for sentence in missing_files_of(runs):
        if own.get("missing_files") == "error":
            raise UserError(sentence)
        print(f"warning: {sentence}", file=sys.stderr)
    if own.get("next", "false") == "true":
        runs = next_runs(runs)
    in_queue = waiting_tasks()
    states = [RunDirectory(run.directory).state(in_queue) for run in runs]
    waiting = [run for run, state in zip(runs, states, strict=True) if state.needs_a_run]
    if "queued" in own:
        of_task = {json.dumps(run.overrides): run for run in runs}
        for task, line in enumerate(Path(own["out"]).read_text().splitlines()):
            RunDirectory(of_task[line].directory).owner.mark_queued(f"{own['queued']}_{task}")
        return
    if runs:
        show_states(runs, states, with_errors=own.get("status", "false").lower() == "true")
    if "out" in own:
        Path(own["out"]).write_text("".join(json.dumps(run.overrides) + "\n" for run in waiting))
        print(f"{own['out']}: {len(waiting)} tasks, one line each")


def next_runs(runs: list[PlannedRun]) -> list[PlannedRun]:
    """The runs that the declared design needs next; prints its looks and what follows."""
    from ablate_analysis.next_runs import shown, what_next

    found = what_next(runs)
    print(*shown(found.looks), found.sentence, sep="\n")
    return list(found.runs)


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
    print(*filter(None, [totals(states), branches_sentence([run.config for run in runs])]), sep="\n")


if __name__ == "__main__":
    run_main(main)
