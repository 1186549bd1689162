"""The page of estimates, and what a machine or an estimate says against a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ablate.cli import CONF_DIR, compose
from ablate.errors import UserError
from ablate.sweep import PlannedRun

if TYPE_CHECKING:
    from ablate.config import ParallelConfig, RunConfig
    from ablate.planner.device import AssumptionsConfig, DeviceConfig
    from ablate.planner.estimate import Planner
    from ablate.planner.machine import Machine

MACHINE_KEYS = ("nodes", "processes_per_node", "gpus_per_node", "generation_nodes")
TIME_KEYS = ("time_limit_s", "stop_lead_s")
PLANNER_KEYS = ("device", "planner")  # composed with conf/plan.yaml, not with the run's configuration


def without_planner(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split overrides into those of the runs and those of conf/plan.yaml."""
    is_planner = [override.split("=", 1)[0].split(".", 1)[0] in PLANNER_KEYS for override in overrides]
    of_runs = [override for override, of_planner in zip(overrides, is_planner, strict=True) if not of_planner]
    return of_runs, [override for override, of_planner in zip(overrides, is_planner, strict=True) if of_planner]


def planner_settings(overrides: Sequence[str]) -> tuple[DeviceConfig, AssumptionsConfig]:
    """The device and the assumptions of conf/plan.yaml with overrides."""
    from ablate.config import section
    from ablate.planner.device import AssumptionsConfig, DeviceConfig, check_settings

    values = compose(overrides, config_name="plan")
    device = section(DeviceConfig, values.device, "device")
    assumptions = section(AssumptionsConfig, values.planner, "planner")
    check_settings(device, assumptions)
    return device, assumptions


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
    from ablate.models.architecture import pinned_architecture
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
    from ablate_analysis.power import DifferenceVariance, minimum_detectable

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
        return f"{what} say nothing about a difference: a comparison needs two cells and two seeds."
    return (
        f"{what} detect a difference of {points:.1f} points of Pass@1 between two cells with probability "
        f"{assumed.power:.0%}, if runs of one cell differ by {100 * assumed.seed_sd:.1f} points (planner.power)."
    )


def show_estimate(
    runs: Sequence[PlannedRun], device: DeviceConfig, assumptions: AssumptionsConfig, lengths_of: str | None
) -> None:
    """Print the page of estimates."""
    from ablate.display import print_page
    from ablate.planner import page

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


def count_of(own: dict[str, str], key: str, default: int | None) -> int | None:
    """The whole number that a word gives."""
    value = own.get(key)
    if value is None:
        return default
    if not value.isdecimal():
        raise UserError(f"{key}={value} must be a whole number, 0 or above: give a number")
    return int(value)


def machine_of(own: dict[str, str], device: DeviceConfig | None) -> Machine | None:
    """The machine that the words describe; None where they describe none."""
    from ablate.planner.machine import Machine

    if not own.keys() & set(MACHINE_KEYS):
        return None
    return Machine(
        nodes=count_of(own, "nodes", 1),
        processes_per_node=count_of(own, "processes_per_node", 1),
        gpus_per_node=count_of(own, "gpus_per_node", 0),
        generation_nodes=count_of(own, "generation_nodes", None),
        gpu_bytes=None if device is None or device.is_cpu else device.memory_bytes,
    )


def warnings_of(
    runs: Sequence[PlannedRun], device: DeviceConfig, assumptions: AssumptionsConfig, own: dict[str, str]
) -> list[str]:
    """A sentence for everything that an estimate says will hardly fit the device or the job's times."""
    from ablate.planner.machine import memory_warnings, time_warnings

    times = [count_of(own, key, None) for key in TIME_KEYS]
    sentences = []
    for planner in estimates_of(runs, device, assumptions, None).values():
        sentences += memory_warnings(planner.config, device, planner.shape)
        if any(time is not None for time in times):
            sentences += time_warnings(planner.run(), *times)
    return list(dict.fromkeys(sentences))
