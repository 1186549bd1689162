"""What a longer context adds to the score of the same weights: a paired difference within each run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ablate_analysis import stats
from ablate_analysis.compare import Comparison
from ablate_analysis.outcomes import WARM_START, Arm
from ablate_analysis.render import Table
from ablate_analysis.tables import points, with_interval


def context_gains(comparison: Comparison) -> pd.DataFrame:
    """Return cell, context, longer, num_seeds, point, low, high: what each context adds to the shortest one.

    The same runs answer the same problems at both contexts, so seeds and problems are paired. The variance between the
    differences of a cell's runs is pooled over the cells.
    """
    settings = comparison.settings
    by_cell: dict[str, list[Arm]] = {}
    for arm in comparison.arms:
        by_cell.setdefault(arm.cell, []).append(arm)
    pairs = [pair for arms in by_cell.values() for pair in with_the_shortest(arms)]
    gain = {
        (long.cell, long.context): long.score(settings.pass_at) - short.score(settings.pass_at) for short, long in pairs
    }
    rng = np.random.default_rng(settings.seed)
    num_problems = len(comparison.arms[0].problem_ids)
    weight_RP = stats.problem_weights(num_problems, settings.resamples, rng)
    rows = []
    for short, long in pairs:
        gain_SP = gain[short.cell, long.context]
        trained = [each for (cell, context), each in gain.items() if context == long.context and cell != WARM_START]
        seeds = stats.SeedVariance(0.0, 0) if short.cell == WARM_START else stats.seed_variance(trained)
        resampled_R = stats.mean_resamples(gain_SP, weight_RP, seeds, rng)
        size = stats.interval(gain_SP.mean(), resampled_R, settings.confidence, (-1.0, 1.0))
        rows.append((short.cell, short.context, long.context, len(short.seeds), size.point, size.low, size.high))
    columns = ["cell", "context", "longer", "num_seeds", "point", "low", "high"]
    frame = pd.DataFrame(rows, columns=columns)
    rank = {cell: index for index, cell in enumerate(comparison.names)}
    return frame.sort_values(["cell", "longer"], key=lambda keys: keys.map(rank).fillna(keys)).reset_index(drop=True)


def with_the_shortest(arms: Sequence[Arm]) -> list[tuple[Arm, Arm]]:
    """The arm of one cell at the shortest context with each of the others, where both are of the same runs."""
    shortest, *others = sorted(arms, key=lambda arm: arm.context)
    return [(shortest, other) for other in others if other.runs == shortest.runs]


def context_table(comparison: Comparison, gains: pd.DataFrame) -> Table:
    """The gains as a table; shares become points."""
    rows = [
        (
            comparison.names[row.cell],
            f"{row.context:,}",
            f"{row.longer:,}",
            str(row.num_seeds),
            with_interval(row.point, row.low, row.high, signed=True),
        )
        for row in gains.itertuples()
    ]
    note = "Points of Pass@k, on the same problems and of the same runs."
    header = ("", "context", "longer context", "seeds", "difference")
    return Table("longer_context", "What a longer context adds", header, tuple(rows), note)


def fixed_sentences(comparison: Comparison, gains: pd.DataFrame, cell: str, context: int, longer: int) -> list[str]:
    """What came of the one comparison that an experiment fixed before its runs (``comparison.longer_context``)."""
    found = gains[(gains["cell"] == cell) & (gains["context"] == context) & (gains["longer"] == longer)]
    if found.empty:
        return [f"The comparison that was fixed in advance, {cell} at {longer:,} and {context:,} tokens, was not run."]
    row = found.iloc[0]
    arms = comparison.frame[comparison.frame["cell"] == cell].set_index("context")
    short, long = arms.loc[context], arms.loc[longer]
    size = with_interval(row["point"], row["low"], row["high"], signed=True)
    return [
        f"Fixed in advance: {comparison.names[cell]} gains {size} points at {longer:,} tokens compared with "
        f"{context:,}, in the same {row['num_seeds']} runs. It finishes {points(short['finished'])} % of its responses "
        f"at {context:,} tokens and {points(long['finished'])} % at {longer:,}; of those that finish, "
        f"{points(short['passed_finished'])} % and {points(long['passed_finished'])} % pass."
    ]
