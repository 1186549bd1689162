"""Every figure that an experiment's records allow, with its title and its note."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.figure import Figure

from analysis import effects, plots
from analysis.compare import Comparison
from analysis.curves import compute_spent
from analysis.load import Experiment


@dataclass(frozen=True)
class Plot:
    name: str
    title: str
    note: str
    figure: Figure


def all_figures(experiment: Experiment, comparison: Comparison, window: int) -> list[Plot]:
    """Draw them; ``window`` is the number of steps that a training curve is averaged over."""
    recorded = set(experiment.metrics["name"])
    drawn = [score_by_context(comparison)]
    if comparison.frame["difference"].notna().any():
        drawn.append(differences(comparison))
    if effects.is_two_by_two(experiment):
        drawn.append(ratio_x_weight(experiment, comparison))
    if "rollout/pass_rate" in recorded:
        confidence = comparison.settings.confidence
        drawn += [
            learning_curves(experiment, window, confidence),
            compute(experiment, window),
            length_and_truncation(experiment, window),
        ]
    if {"policy/clip_low", "policy/clip_high"} <= recorded:
        drawn.append(clip_fraction(experiment, window))
    return [*drawn, decomposition(comparison)]


def averaged(window: int) -> str:
    return f"Averaged over the last {window} steps."


def score_by_context(comparison: Comparison) -> Plot:
    score = f"Pass@{comparison.settings.pass_at}"
    note = f"{comparison.settings.confidence:.0%} intervals over problems and training seeds."
    figure = plots.score_by_context(comparison.frame, score)
    return Plot("score_by_context", f"{score} by context length", note, figure)


def differences(comparison: Comparison) -> Plot:
    figure = plots.forest(comparison.frame, comparison.settings.baseline)
    note = "Not adjusted for several comparisons. An interval that crosses 0 shows no difference."
    return Plot("differences", "Paired differences to the baseline", note, figure)


def ratio_x_weight(experiment: Experiment, comparison: Comparison) -> Plot:
    levels = effects.factor_levels(experiment, effects.RATIO, effects.WEIGHT)
    score = f"Pass@{comparison.settings.pass_at}"
    figure = plots.interaction(comparison.frame, levels, effects.RATIO, effects.WEIGHT, score)
    note = "Parallel lines: no interaction. The clip range goes with the ratio."
    return Plot("ratio_x_weight", "Ratio x weight", note, figure)


def learning_curves(experiment: Experiment, window: int, confidence: float) -> Plot:
    figure = plots.learning_curves(
        experiment.metrics, experiment.cells, "rollout/pass_rate", window, confidence, "pass rate of rollouts"
    )
    note = f"Thin: seeds. Thick: mean, with its {confidence:.0%} interval. Grey: the other cells. {averaged(window)}"
    return Plot("learning_curves", "Learning curves", note, figure)


def compute(experiment: Experiment, window: int) -> Plot:
    figure = plots.compute_axes(experiment.metrics, compute_spent(experiment), experiment.cells, window)
    note = f"Mean over seeds. {averaged(window)} Tokens include groups that dynamic sampling dropped."
    return Plot("compute", "Learning against compute", note, figure)


def length_and_truncation(experiment: Experiment, window: int) -> Plot:
    figure = plots.length_and_truncation(experiment.metrics, experiment.cells, window)
    return Plot("length_and_truncation", "Length and truncation", f"Thin: seeds. {averaged(window)}", figure)


def clip_fraction(experiment: Experiment, window: int) -> Plot:
    figure = plots.clip_fraction(experiment.metrics, experiment.cells, window)
    note = f"Thin: seeds. Logarithmic above 0.1 %. {averaged(window)}"
    return Plot("clip_fraction", "Share of tokens whose clip binds", note, figure)


def decomposition(comparison: Comparison) -> Plot:
    note = "A grey curve joins the points of one Pass@1."
    return Plot("decomposition", "Where Pass@1 comes from", note, plots.decomposition(comparison.frame))
