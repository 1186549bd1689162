"""Every figure that an experiment's records make possible, with its title and its note."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from ablate_analysis import alt_texts, effects, gantt, plots
from ablate_analysis.compare import Comparison
from ablate_analysis.curves import compute_spent
from ablate_analysis.load import Experiment, Run


@dataclass(frozen=True)
class Plot:
    name: str
    title: str
    note: str
    figure: Figure
    alt: str = ""  # what the picture shows, for those who cannot see it


def all_figures(experiment: Experiment, comparison: Comparison, window: int) -> list[Plot]:
    """Draw all figures; ``window`` is the number of steps that a training curve is averaged over."""
    recorded = set(experiment.metrics["name"])
    drawn = [score_by_context(comparison)]
    if comparison.frame["difference"].notna().any():
        drawn.append(difference_plot(comparison))
    keys = effects.crossed_keys(experiment)
    if keys:
        drawn.append(two_by_two(experiment, comparison, *keys))
    if "rollout/pass_rate" in recorded:
        confidence = comparison.settings.confidence
        drawn += [
            learning_curves(experiment, window, confidence),
            compute(experiment, window),
            length_and_truncation(experiment, window),
        ]
    if {"policy/clip_low", "policy/clip_high"} <= recorded:
        drawn.append(clip_fraction(experiment, window))
    drawn.append(decomposition(comparison))
    run = gantt.charted_run(experiment)
    return drawn if run is None else [*drawn, timeline(run)]


def averaged(window: int) -> str:
    return f"Averaged over the last {window} steps."


def score_by_context(comparison: Comparison) -> Plot:
    score = f"Pass@{comparison.settings.pass_at}"
    note = f"{comparison.settings.confidence:.0%} intervals over problems and training seeds."
    figure = plots.score_by_context(comparison.frame, comparison.names, score)
    return Plot("score_by_context", f"{score} by context length", note, figure, alt_texts.of_scores(comparison))


def difference_plot(comparison: Comparison) -> Plot:
    figure = plots.forest(comparison.frame, comparison.names, comparison.settings.baseline)
    note = "Not adjusted for several comparisons. An interval that crosses 0 shows no difference."
    alt = alt_texts.of_differences(comparison)
    return Plot("differences", "Paired differences from the baseline", note, figure, alt)


def two_by_two(experiment: Experiment, comparison: Comparison, first: str, second: str) -> Plot:
    levels = effects.factor_levels(experiment, first, second)
    figure = plots.interaction(comparison.frame, levels, first, second, f"Pass@{comparison.settings.pass_at}")
    note = f"Parallel lines mean no interaction. {effects.effects_note(experiment, first, second)}"
    title = f"{effects.short_name(first)} x {effects.short_name(second)}"
    return Plot("two_by_two", title, note, figure, alt_texts.of_scores(comparison))


def learning_curves(experiment: Experiment, window: int, confidence: float) -> Plot:
    figure = plots.learning_curves(
        experiment.metrics, experiment.names, "rollout/pass_rate", window, confidence, "pass rate of rollouts"
    )
    note = f"Thin: seeds. Thick: mean, with its {confidence:.0%} interval. Grey: the other cells. {averaged(window)}"
    return Plot("learning_curves", "Learning curves", note, figure, pass_rates(experiment.metrics, experiment.names))


def pass_rates(metrics: pd.DataFrame, names: Mapping[str, str]) -> str:
    return alt_texts.of_curves(metrics, names, {"rollout/pass_rate": "Pass rate of rollouts"})


def compute(experiment: Experiment, window: int) -> Plot:
    figure = plots.compute_axes(experiment.metrics, compute_spent(experiment), experiment.names, window)
    note = f"Mean over seeds. {averaged(window)} Tokens include groups that dynamic sampling dropped."
    alt = pass_rates(experiment.metrics, experiment.names)
    return Plot("compute", "Learning against compute", note, figure, alt)


def length_and_truncation(experiment: Experiment, window: int) -> Plot:
    figure = plots.length_and_truncation(experiment.metrics, experiment.names, window)
    titles = {"rollout/length_mean": "Tokens per response", "rollout/truncated": "Share cut off"}
    alt = alt_texts.of_curves(experiment.metrics, experiment.names, titles)
    return Plot("length_and_truncation", "Length and truncation", f"Thin: seeds. {averaged(window)}", figure, alt)


def clip_fraction(experiment: Experiment, window: int) -> Plot:
    figure = plots.clip_fraction(experiment.metrics, experiment.names, window)
    note = f"Thin: seeds. Logarithmic above 0.1 %. {averaged(window)}"
    titles = {"policy/clip_low": "Share clipped below", "policy/clip_high": "Share clipped above"}
    alt = alt_texts.of_curves(experiment.metrics, experiment.names, titles)
    return Plot("clip_fraction", "Share of tokens whose clip binds", note, figure, alt)


def decomposition(comparison: Comparison) -> Plot:
    figure = plots.decomposition(comparison.frame, comparison.names)
    note = "A grey curve joins points with the same Pass@1."
    alt = alt_texts.of_decomposition(comparison)
    return Plot("decomposition", "Where Pass@1 comes from", note, figure, alt)


def timeline(run: Run) -> Plot:
    figure, step = gantt.gantt(run)
    note = (
        f"Step {step} of {run.name}, a step of median length. Numbers on the bars are steps. Dotted: the most that can "
        f"run at once. For all steps, open {run.name}/trace.json in ui.perfetto.dev."
    )
    return Plot("timeline", "One step over time", note, figure)
