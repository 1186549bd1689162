"""``python -m ablate.plan``: the runs of an experiment, their states, and the overrides of every array task.

    python -m ablate.plan experiment=tiny                     every run and its state
    python -m ablate.plan experiment=tiny out=tasks.txt       one line of overrides per run that is missing or failed
    python -m ablate.plan experiment=tiny seed=0,1,2 model=…  any override of ablate.train, sweeps included
    python -m ablate.plan experiment=nouscoder_14b estimate=true device=b200
                                                              seconds by stage, hours, device hours, memory, disk

Every run is checked as ablate.train would check it: configuration, objective, layout. A missing data or model file is
a warning. The command's own keys are experiment=NAME (needed), status=true (also show why a run failed) and out=FILE.

estimate=true prints a page of estimates in place of the runs. device=NAME is a file of conf/device. conf/plan.yaml has
what is assumed: device.bandwidth_share=0.6 and planner.kept_share=0.3 override it, and lengths_of=RUN takes the lengths
of a recorded run's responses. docs/cluster.md compares such estimates with measurements.

slurm/submit.sh adds processes=N (the number of processes that will train a run), missing_files=error, and queued=JOB,
which says that the lines of out=FILE are now tasks 0, 1, ... of that array.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ablate.cli import CONF_DIR, compose, read_words, run_main
from ablate.errors import UserError
from ablate.records import RunDirectory, StateOnDisk
from ablate.sweep import PlannedRun, plan

if TYPE_CHECKING:
    from ablate.config import ParallelConfig, RunConfig
    from ablate.planner.device import AssumptionsConfig, DeviceConfig
    from ablate.planner.estimate import Planner

OWN_KEYS = ("status", "out", "queued", "processes", "missing_files", "estimate", "lengths_of")
PLANNER_KEYS = ("device", "planner")  # composed with conf/plan.yaml, not with the run's configuration


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
    """One line per run, then the totals."""
    width = max(len(str(run.directory)) for run in runs)
    lines = []
    for run, state in zip(runs, states, strict=True):
        lines.append(f"{run.directory!s:{width}}  {state.name:11}  {state.position}".rstrip())
        if with_errors and state.error:
            lines.append(f"{'':{width}}  {state.error.strip().splitlines()[-1]}")
    counts = {name: sum(state.name == name for state in states) for name in dict.fromkeys(s.name for s in states)}
    totals = ", ".join(f"{count} {name}" for name, count in counts.items())
    return "\n".join([*lines, f"{len(runs)} runs: {totals}"])


# --- estimates --------------------------------------------------------------------------------------------------------


def without_planner(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split overrides into those of the runs and those of conf/plan.yaml."""
    is_planner = [override.split("=", 1)[0].split(".", 1)[0] in PLANNER_KEYS for override in overrides]
    of_runs = [override for override, of_planner in zip(overrides, is_planner, strict=True) if not of_planner]
    return of_runs, [override for override, of_planner in zip(overrides, is_planner, strict=True) if of_planner]


def planner_settings(overrides: Sequence[str]) -> tuple[DeviceConfig, AssumptionsConfig]:
    """The device and the assumptions of conf/plan.yaml with overrides."""
    from ablate.config import section
    from ablate.planner.device import AssumptionsConfig, DeviceConfig

    values = compose(overrides, config_name="plan")
    return section(DeviceConfig, values.device, "device"), section(AssumptionsConfig, values.planner, "planner")


def estimates_of(
    runs: Sequence[PlannedRun], device: DeviceConfig, assumptions: AssumptionsConfig, lengths_of: str | None
) -> dict[str, Planner]:
    """A planner for each cell; cells that cost the same share one, under both names."""
    from ablate.planner.estimate import Planner
    from ablate.planner.lengths import recorded_lengths

    recorded = recorded_lengths(Path(lengths_of)) if lengths_of else ()
    names: dict[tuple[bool, str], list[str]] = {}
    configs = {}
    for run in runs:
        config = run.config
        if config.model.architecture is None:
            raise UserError(
                f"model={config.model.name} has no shape in conf/model: an estimate needs model.architecture"
            )
        drops_groups = config.objective["keep"] != "all"
        same = (drops_groups, repr(replace(config, cell="", seed=0, objective={})))
        configs[same] = config
        if config.cell not in names.setdefault(same, []):
            names[same].append(config.cell)
    return {
        ", ".join(cells): Planner(configs[same], device, assumptions, drops_groups=same[0], recorded=recorded)
        for same, cells in names.items()
    }


def layouts_like(config: RunConfig) -> dict[str, ParallelConfig]:
    """The layouts of conf/parallel for this precision whose sizes divide this model."""
    from ablate.config import ParallelConfig, section
    from ablate.trainer.architecture import pinned_architecture
    from ablate.trainer.parallel.layout import check_layout

    layouts = {}
    for path in sorted(Path(CONF_DIR, "parallel").glob("*.yaml")):
        parallel = section(ParallelConfig, compose([f"parallel={path.stem}"]).parallel, "parallel")
        if parallel.precision != config.parallel.precision:
            continue
        try:
            check_layout(pinned_architecture(config.model.architecture), parallel, trains_here=False)
        except UserError:
            continue  # another model's layout
        layouts[path.stem] = parallel
    return layouts | {"this experiment": config.parallel}


def detectable_sentence(runs: Sequence[PlannedRun], assumptions: AssumptionsConfig) -> str:
    """The difference of Pass@1 between two cells that the seeds and problems of this sweep detect."""
    from analysis.power import DifferenceVariance, minimum_detectable

    config, assumed = runs[0].config, assumptions.power
    num_problems = config.eval.expected_problems or assumptions.eval_problems
    design = DifferenceVariance(
        seed=assumed.seed_sd**2,
        sample=assumed.sample_variance,
        problem=assumed.problem_sd**2,
        num_arms=len({run.config.cell for run in runs}),
        num_seeds=len({run.config.seed for run in runs}),
        num_problems=num_problems,
        num_samples=config.eval.samples_per_problem,
    )
    points = 100 * minimum_detectable(design, assumed.confidence, assumed.power)
    what = f"{design.num_seeds} seeds, {num_problems} problems and {design.num_samples} samples"
    if not points < 100:
        return f"{what} cannot compare {design.num_arms} cell(s): a comparison needs two cells and two seeds."
    return (
        f"{what} detect a difference of {points:.1f} points of Pass@1 between two cells with probability "
        f"{assumed.power:.0%}, if runs of one cell differ by {100 * assumed.seed_sd:.1f} points (planner.power)."
    )


def show_estimate(runs: Sequence[PlannedRun], overrides: Sequence[str], lengths_of: str | None) -> None:
    """Print the page of estimates."""
    from ablate.display import print_page
    from ablate.planner import page

    device, assumptions = planner_settings(overrides)
    planners = estimates_of(runs, device, assumptions, lengths_of)
    estimates = {name: planner.run() for name, planner in planners.items()}
    first, config = next(iter(planners.values())), runs[0].config
    num_seeds = len({run.config.seed for run in runs})
    tables = [
        page.step_table(estimates, first.lag),
        page.run_table(estimates, num_seeds),
        page.memory_table(first.shape, layouts_like(config), device),
    ]
    total = sum(estimate.device_hours * (1 + name.count(", ")) for name, estimate in estimates.items()) * num_seeds
    sentences = [
        *(page.limit_sentence(name, estimate) for name, estimate in estimates.items()),
        page.cache_sentence(next(iter(estimates.values())), config),
        *(
            f"{name}: {planner.sandboxes_needed()} sandboxes at once suffice for a batch that waits for samples only "
            f"(verify.workers={config.verify.workers})."
            for name, planner in planners.items()
        ),
        f"All {len(runs)} runs take {total:,.0f} device hours.",
        detectable_sentence(runs, assumptions),
    ]
    title = f"{config.experiment} on {device.name}: an estimate; docs/cluster.md says how far such estimates are off"
    print_page(title, [(table.title, table.heads, table.rows) for table in tables], "\n".join(sentences))


def main() -> None:
    words = read_words(__doc__, OWN_KEYS, required=("experiment",))
    own = words.own
    processes = own.get("processes")
    if processes is not None and not (processes.isdecimal() and int(processes) > 0):
        raise UserError(f"processes={processes} must be a whole number above 0: give the number of processes of a run")
    if own.get("missing_files", "warn") not in ("warn", "error"):
        raise UserError(f"missing_files={own['missing_files']} is not one of warn, error: choose one of them")
    if "queued" in own and "out" not in own:
        raise UserError("queued=JOB needs the list of tasks that was submitted: add out=FILE")
    overrides, of_planner = without_planner(words.overrides)
    runs = plan(overrides, int(processes) if processes else None)
    for sentence in missing_files_of(runs):
        if own.get("missing_files") == "error":
            raise UserError(sentence)
        print(f"warning: {sentence}", file=sys.stderr)
    if own.get("estimate", "false").lower() == "true":
        show_estimate(runs, of_planner, own.get("lengths_of"))
        return
    in_queue = waiting_tasks()
    states = [RunDirectory(run.directory).state(in_queue) for run in runs]
    waiting = [run for run, state in zip(runs, states, strict=True) if state.needs_a_run]
    if "queued" in own:
        by_line = {shlex.join(run.overrides): run for run in runs}
        for task, line in enumerate(Path(own["out"]).read_text().splitlines()):
            RunDirectory(by_line[line].directory).owner.mark_queued(f"{own['queued']}_{task}")
        return
    print(shown(runs, states, with_errors=own.get("status", "false").lower() == "true"))
    if "out" in own:
        Path(own["out"]).write_text("".join(shlex.join(run.overrides) + "\n" for run in waiting))
        print(f"{own['out']}: {len(waiting)} tasks, one line each")


if __name__ == "__main__":
    run_main(main)
