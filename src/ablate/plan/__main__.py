"""``python -m ablate.plan``: the runs of an experiment, their states, and the overrides of every array task.

    python -m ablate.plan experiment=tiny                     every run and its state: a grid on a terminal
    python -m ablate.plan experiment=tiny out=tasks.txt       a JSON list of overrides per run that is missing or failed
    python -m ablate.plan experiment=tiny seed=0,1,2 model=…  any override of ablate.train, sweeps included
    python -m ablate.plan experiment=nouscoder_14b estimate=true device=b200
                                                              seconds by stage, hours, device hours, memory, disk

Every run is checked as ablate.train would check it: configuration, objective, layout. A missing data or model file is
a warning. The command's own keys are experiment=NAME (needed), status=true (also show why a run failed) and out=FILE.

estimate=true prints a page of estimates in place of the runs. device=NAME is a file of conf/device. conf/plan.yaml has
what is assumed: device.bandwidth_share=0.6 and planner.kept_share=0.3 override it, and lengths_of=RUN takes the lengths
of a recorded run's responses. docs/cluster.md compares such estimates with measurements.

slurm/submit.sh adds missing_files=error; queued=JOB, which says that the lines of out=FILE are now tasks 0, 1, ... of
that array; and the machine of one run: nodes=N processes_per_node=N gpus_per_node=N, generation_nodes=N with servers
that the job starts, time_limit_s=S and stop_lead_s=S. A run that this machine cannot run is refused. With device=NAME
a run that will hardly fit its memory or its times is a warning.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ablate.cli import read_words, run_main
from ablate.errors import UserError
from ablate.plan.estimates import (
    MACHINE_KEYS,
    TIME_KEYS,
    machine_of,
    planner_settings,
    show_estimate,
    warnings_of,
    without_planner,
)
from ablate.plan.runs import missing_files_of, show_states, waiting_tasks
from ablate.records import RunDirectory
from ablate.sweep import plan

OWN_KEYS = ("status", "out", "queued", "missing_files", "estimate", "lengths_of", *MACHINE_KEYS, *TIME_KEYS)


def main() -> None:
    words = read_words(__doc__, OWN_KEYS, required=("experiment",))
    own = words.own
    if own.get("missing_files", "warn") not in ("warn", "error"):
        raise UserError(f"missing_files={own['missing_files']} is not one of warn, error: choose one of them")
    if "queued" in own and "out" not in own:
        raise UserError("queued=JOB needs the list of tasks that was submitted: add out=FILE")
    overrides, of_planner = without_planner(words.overrides)
    device, assumptions = planner_settings(of_planner)
    knows_device = any(word.startswith("device=") for word in of_planner)
    machine = machine_of(own, device if knows_device else None)
    runs = plan(overrides, machine and machine.num_processes, machine=machine)
    if knows_device:
        for sentence in warnings_of(runs, device, assumptions, own):
            print(f"warning: {sentence}", file=sys.stderr)
    for sentence in missing_files_of(runs):
        if own.get("missing_files") == "error":
            raise UserError(sentence)
        print(f"warning: {sentence}", file=sys.stderr)
    if own.get("estimate", "false").lower() == "true":
        show_estimate(runs, device, assumptions, own.get("lengths_of"))
        return
    in_queue = waiting_tasks()
    states = [RunDirectory(run.directory).state(in_queue) for run in runs]
    waiting = [run for run, state in zip(runs, states, strict=True) if state.needs_a_run]
    if "queued" in own:
        of_task = {json.dumps(run.overrides): run for run in runs}
        for task, line in enumerate(Path(own["out"]).read_text().splitlines()):
            RunDirectory(of_task[line].directory).owner.mark_queued(f"{own['queued']}_{task}")
        return
    show_states(runs, states, with_errors=own.get("status", "false").lower() == "true")
    if "out" in own:
        Path(own["out"]).write_text("".join(json.dumps(run.overrides) + "\n" for run in waiting))
        print(f"{own['out']}: {len(waiting)} tasks, one line each")


if __name__ == "__main__":
    run_main(main)
