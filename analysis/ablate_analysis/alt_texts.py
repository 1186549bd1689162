"""What each figure shows, in words and numbers: the alternative texts of the report's pictures."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ablate_analysis.compare import Comparison
from ablate_analysis.tables import points, with_interval


def of_scores(comparison: Comparison) -> str:
    """Pass@k of every cell at every context."""
    return "; ".join(
        f"{comparison.names[row.cell]} {with_interval(row.point, row.low, row.high)} % at {row.context:,} tokens"
        for row in comparison.frame.itertuples()
    )


def of_differences(comparison: Comparison) -> str:
    """Every difference from the baseline, with its interval."""
    compared = comparison.frame.dropna(subset="difference")
    return f"Differences from {comparison.baseline_name}: " + "; ".join(
        f"{comparison.names[row.cell]} {with_interval(row.difference, row.difference_low, row.difference_high, True)} "
        f"points at {row.context:,} tokens"
        for row in compared.itertuples()
    )


def of_effects(frame: pd.DataFrame) -> str:
    """The effects of a 2 x 2 at every context."""
    return "; ".join(
        f"{row.effect}: {with_interval(row.point, row.low, row.high, True)} points at {row.context:,} tokens"
        for row in frame.itertuples()
    )


def of_decomposition(comparison: Comparison) -> str:
    """Share finished and pass rate among the finished."""
    return "; ".join(
        f"{comparison.names[row.cell]} finished {points(row.finished)} % and passed {points(row.passed_finished)} % of "
        f"the finished at {row.context:,} tokens"
        for row in comparison.frame.itertuples()
    )


def of_curves(metrics: pd.DataFrame, names: Mapping[str, str], titles: Mapping[str, str]) -> str:
    """The mean over seeds of each metric (``{name: title}``) at the first and at the last step of every cell."""
    said = []
    for name, title in titles.items():
        chosen = metrics[metrics["name"] == name].sort_values("step")
        ends = []
        for cell, printed in names.items():
            mean = chosen[chosen["cell"] == cell].groupby("step")["value"].mean().to_numpy(dtype=np.float64)
            if len(mean):
                ends.append(f"{printed} from {mean[0]:.3g} to {mean[-1]:.3g}")
        said.append(f"{title}, first to last step: {'; '.join(ends)}")
    return ". ".join(said)
