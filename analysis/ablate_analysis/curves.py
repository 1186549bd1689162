"""Training curves: one value per run and step -> each seed, the mean over seeds, and its interval."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ablate_analysis.load import Experiment, Run, seconds_by_step, wide_metrics
from ablate_analysis.stats import seed_variance

EVALUATED = ("eval/", "select/")  # metrics of evaluations


def curve(metrics: pd.DataFrame, name: str, window: int) -> pd.DataFrame:
    """Return cell, seed, step, value: the metric of every run, averaged over the last ``window`` steps.

    The average looks back only, so that no point depends on later steps. Evaluations, which are far apart, have none.
    """
    window = 1 if name.startswith(EVALUATED) else window
    wide = wide_metrics(metrics, [name]).dropna(subset=name).sort_values(["run", "step"])
    smooth = wide.groupby("run")[name].transform(lambda values: values.rolling(window, min_periods=1).mean())
    return wide.assign(value=smooth)[["cell", "seed", "step", "value"]].reset_index(drop=True)


def curve_band(curves: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Return cell, step, mean, low, high over the seeds; the variance between seeds is pooled over the cells of a step.

    low and high are NaN where no cell has two seeds.
    """
    from scipy import stats as distributions

    rows = []
    for step, at_step in curves.groupby("step"):
        groups = {cell: group["value"].to_numpy() for cell, group in at_step.groupby("cell")}
        spread = seed_variance([values[:, None] for values in groups.values()])
        quantile = distributions.t.ppf((1 + confidence) / 2, spread.degrees) if spread.degrees else np.nan
        for cell, values in groups.items():
            half = quantile * np.sqrt(spread.variance / len(values))
            rows.append((cell, step, values.mean(), values.mean() - half, values.mean() + half))
    return pd.DataFrame(rows, columns=["cell", "step", "mean", "low", "high"])


def compute_spent(experiment: Experiment) -> pd.DataFrame:
    """Return run, cell, seed, step, tokens, seconds: sampled tokens and wall seconds from the start to each step.

    Tokens include groups that dynamic sampling dropped, up to the last one that a step accepted.
    """
    return pd.concat([compute_of(experiment.metrics, run) for run in experiment.runs], ignore_index=True)


def compute_of(metrics: pd.DataFrame, run: Run) -> pd.DataFrame:
    names = ["rollout/length_mean", "rollout/num_groups"]
    wide = wide_metrics(metrics[metrics["run"] == run.name], names).dropna(subset=names[0]).sort_values("step")
    samples = run.config["rollout"]["samples_per_prompt"]
    groups = wide["rollout/num_groups"].fillna(run.config["rollout"]["prompts_per_step"])
    tokens = (wide["rollout/length_mean"] * groups * samples).cumsum()
    seconds = seconds_by_step(run).set_index("step")["seconds"].reindex(wide["step"])
    return wide[["run", "cell", "seed", "step"]].assign(tokens=tokens, seconds=seconds.cumsum().to_numpy())
