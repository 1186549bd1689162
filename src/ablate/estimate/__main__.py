"""``python -m ablate.estimate``: the seconds, device hours, memory and disk that an experiment will need.

    python -m ablate.estimate experiment=nouscoder_14b device=b200
    python -m ablate.estimate experiment=tiny device=cpu lengths_of=outputs/tiny/grpo/seed0

device=NAME is a file of conf/device. conf/estimate.yaml has what is assumed: device.bandwidth_share=0.6 and
assumptions.kept_share=0.3 override it, and lengths_of=RUN takes the lengths of a recorded run's responses. advise=true
says which single changes would shorten the longest run, and which of them together. Every other word is an override of
ablate.train, sweeps included. docs/cluster.md compares such estimates with measurements.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.cli import CONF_DIR, compose, read_words, run_main
from ablate.errors import UserError
from ablate.sweep import planned_runs

if TYPE_CHECKING:
    from ablate.config import ParallelConfig, RunConfig
    from ablate.estimate.collect import Collected
    from ablate.estimate.device import AssumptionsConfig, DeviceConfig
    from ablate.sweep import PlannedRun


def main() -> None:
    words = read_words(__doc__, ("lengths_of", "advise"), required=("experiment",))
    if words.own.get("advise", "false") not in ("true", "false"):
        raise UserError(f"advise={words.own['advise']} is not one of true, false")
    from ablate.estimate.settings import estimate_settings, without_settings

    overrides, of_estimate = without_settings(words.overrides)
    runs = planned_runs(overrides)
    configs = [run.config for run in runs]
    names_device = any(word.startswith("device=") for word in of_estimate)
    if not names_device and configs[0].parallel.precision == "fp32":  # the layouts of a CPU
        of_estimate = [*of_estimate, "device=cpu"]
    settings = *estimate_settings(of_estimate), words.own.get("lengths_of")
    if words.own.get("advise") == "true":
        show_advice(runs, *settings)
    else:
        show_estimate(configs, *settings)


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


def detectable_sentence(runs: Sequence[RunConfig], assumptions: AssumptionsConfig) -> str:
    """The difference of Pass@1 between two cells that the seeds and problems of this sweep detect."""
    from ablate.estimate.problems import num_eval_problems
    from ablate_analysis.power import DifferenceVariance, minimum_detectable

    config, assumed = runs[0], assumptions.power
    num_problems = num_eval_problems(config, assumptions)
    design = DifferenceVariance(
        seed=assumed.seed_sd**2,
        sample=assumed.sample_variance,
        problem=assumed.problem_sd**2,
        num_arms=len({run.cell for run in runs}),
        num_seeds=len({run.seed for run in runs}),
        num_problems=num_problems,
        num_samples=config.eval.samples_per_problem,
    )
    points = 100 * minimum_detectable(design, assumed.confidence, assumed.power)
    what = f"{design.num_seeds} seeds, {num_problems} problems and {design.num_samples} samples"
    if not points < 100:
        return f"{what} say nothing about a difference: a comparison needs two cells and two seeds."
    return (
        f"{what} detect a difference of {points:.1f} points of Pass@1 between two cells with probability "
        f"{assumed.power:.0%}, if runs of one cell differ by {100 * assumed.seed_sd:.1f} points (assumptions.power)."
    )


def show_advice(
    runs: Sequence[PlannedRun], device: DeviceConfig, assumptions: AssumptionsConfig, lengths_of: str | None
) -> None:
    """Print what would shorten the longest run."""
    from ablate.display import print_page
    from ablate.estimate import advise
    from ablate.estimate.cells import estimates_of

    simulated: dict[Any, Collected] = {}
    estimators = estimates_of([run.config for run in runs], device, assumptions, lengths_of, simulated).values()
    cell = max(estimators, key=lambda estimator: estimator.run().hours).config.cell
    run = next(run for run in runs if run.config.cell == cell)
    layouts = {name: each for name, each in layouts_like(run.config).items() if each is not run.config.parallel}
    advisor = advise.Advisor(run.overrides, layouts, device, assumptions, lengths_of, simulated)
    tables, last = advisor.page()
    title = f"{run.config.experiment}, {cell}, on {advisor.num_devices} x {device.name}: what would shorten its "
    title += f"{advisor.present.hours:.0f} hours?"
    print_page(title, [(table.title, table.heads, table.rows) for table in tables], last)


def show_estimate(
    runs: Sequence[RunConfig], device: DeviceConfig, assumptions: AssumptionsConfig, lengths_of: str | None
) -> None:
    """Print the page of estimates."""
    from ablate.display import print_page
    from ablate.estimate import page
    from ablate.estimate.cells import branches_sentence, estimates_of

    estimators = estimates_of(runs, device, assumptions, lengths_of)
    estimates = {name: estimator.run() for name, estimator in estimators.items()}
    first, config = next(iter(estimators.values())), runs[0]
    num_seeds = len({run.seed for run in runs})
    tables = [
        page.step_table(estimates, first.lag),
        page.run_table(estimates, num_seeds),
        page.memory_table(first.shape, layouts_like(config), device),
    ]
    total = sum(each.device_hours * estimators[name].num_cells for name, each in estimates.items()) * num_seeds
    sentences = [
        *filter(None, [branches_sentence(runs)]),
        *(page.limit_sentence(name, estimate) for name, estimate in estimates.items()),
        page.cache_sentence(next(iter(estimates.values())), config),
        *([page.sharing_sentence(config, device)] if config.rollout.engine.share_gpus else []),
        *(
            f"{name}: {estimator.sandboxes_needed()} sandboxes at once suffice for a batch that waits for samples only "
            f"(verify.workers={config.verify.workers})."
            for name, estimator in estimators.items()
        ),
    ]
    title = "\n".join(
        [
            f"{config.experiment} on {device.name}: all {len(runs)} runs take {page.spoken_hours(total)}.",
            detectable_sentence(runs, assumptions),
            "An estimate, assumptions from conf/estimate.yaml; docs/cluster.md says how far such estimates are off.",
        ]
    )
    print_page(title, [(table.title, table.heads, table.rows) for table in tables], "\n".join(sentences))


if __name__ == "__main__":
    run_main(main)
