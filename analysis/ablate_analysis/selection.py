"""The checkpoint that was selected, next to the last one, and what selection alone gains.

Evaluating K checkpoints and reporting the best one on the same problems also reports noise: the largest of K noisy
scores of the same model lies above that model's score.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablate_analysis.compare import Comparison
from ablate_analysis.load import Experiment, Run
from ablate_analysis.outcomes import arm_of
from ablate_analysis.render import NOTHING, Table

SIMULATIONS = 1000


def selection_gain(
    rate_P: NDArray[np.float64], num_samples: int, num_evaluations: int, rng: np.random.Generator
) -> float:
    """The expected gain of the best of K equal evaluations over the true score: sampling noise and nothing else.

    Args:
        rate_P: the probability that one sample of a problem passes; the same in every evaluation.
    """
    correct = rng.binomial(num_samples, rate_P, size=(SIMULATIONS, num_evaluations, len(rate_P)))
    score = correct.mean(axis=2) / num_samples
    return float(score.max(axis=1).mean() - rate_P.mean())


def selected_step(run: Run) -> int | None:
    """The step of the selected checkpoint; None where the run selected none."""
    selected = run.directory.selected()
    return selected["step"] if selected else None


def selected_scores(experiment: Experiment, pass_at: int) -> pd.DataFrame:
    """Return cell, context, steps, last, selected: pass@k of the last and of the selected checkpoints, mean over seeds.

    Empty where no run recorded a selection. NaN at a context at which a run's selected checkpoint was not evaluated.
    """
    rows = []
    for cell in experiment.cells:
        steps = {run.name: selected_step(run) for run in experiment.runs_of(cell)}
        if None in steps.values():
            continue
        scores = experiment.scores[experiment.scores["cell"] == cell]
        chosen = scores[scores["step"] == scores["run"].map(steps)]
        last = scores[scores["step"] == scores.groupby("run")["step"].transform("max")]
        for context in sorted(last["context"].unique()):
            best = chosen[chosen["context"] == context]
            is_whole = best["run"].nunique() == len(steps)
            rows.append(
                {
                    "cell": cell,
                    "context": int(context),
                    "steps": tuple(steps.values()),
                    "last": arm_of(cell, last[last["context"] == context]).score(pass_at).mean(),
                    "selected": arm_of(cell, best).score(pass_at).mean() if is_whole else np.nan,
                }
            )
    return pd.DataFrame(rows, columns=["cell", "context", "steps", "last", "selected"])


def selection_table(experiment: Experiment, comparison: Comparison) -> Table | None:
    """Pass@k of the last and of the selected checkpoint; None where no run recorded a selection."""
    scores = selected_scores(experiment, comparison.settings.pass_at)
    if scores.empty:
        return None
    score = f"Pass@{comparison.settings.pass_at}"
    rows = [
        (
            comparison.names[row.cell],
            f"{row.context:,}",
            ", ".join(map(str, row.steps)),
            f"{100 * row.selected:.1f}" if row.selected == row.selected else NOTHING,
            f"{100 * row.last:.1f}",
        )
        for row in scores.itertuples()
    ]
    header = ("", "context", "selected steps\n(one per seed)", f"{score},\nselected", f"{score},\nlast")
    note = "Percent, mean over seeds. Every other table and figure shows the last checkpoint. " + " ".join(
        selection_caveat(experiment, comparison)
    )
    return Table("selection", "Selected and last checkpoint", header, tuple(rows), note.strip())


def selection_caveat(experiment: Experiment, comparison: Comparison) -> list[str]:
    """Sentences: whether the evaluation problems themselves chose the checkpoints, and what that alone gains."""
    records = [selected for run in experiment.runs if (selected := run.directory.selected())]
    on_test = [selected for selected in records if selected["held_out"] is None and len(selected["scores"]) > 1]
    if not on_test:
        return []
    context = on_test[0]["context"]
    num_evaluations = max(len(selected["scores"]) for selected in on_test)
    arms = [arm for arm in comparison.arms if arm.context == context and arm.cell in experiment.cells]
    if not arms:
        return []
    rate_P = np.mean([arm.score(1).mean(axis=0) for arm in arms], axis=0)
    num_samples = arms[0].passed_SPN.shape[2]
    gain = selection_gain(rate_P, num_samples, num_evaluations, np.random.default_rng(comparison.settings.seed))
    return [
        f"Selection used the evaluation problems: the selected score is the best of {num_evaluations} evaluations at "
        f"{context:,} tokens, which gains {100 * gain:.1f} points from the noise of {len(rate_P)} x {num_samples} "
        "samples alone. Set eval.select_on=FILE to select on held-out problems."
    ]
