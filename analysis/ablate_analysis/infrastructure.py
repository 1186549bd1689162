"""Samples without a verdict: whether the errors behind them depend on the program.

An error that does not depend on the program hits other problems in every evaluation. One that does, such as that of a
slow program on a busy machine, hits the same problems again, because every evaluation asks the same problems.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

import pandas as pd

from ablate.types import VerdictKind

EVALUATION = ["run", "step", "context"]
SIGNIFICANT = 0.001  # strict, because every report makes this test
MOST_NAMED = 5


def infrastructure_sentences(scores: pd.DataFrame, metrics: pd.DataFrame) -> list[str]:
    """How many samples have no verdict, and whether the same problems fail in one evaluation after the other."""
    from scipy import stats

    failed = scores[scores["verdict"] == VerdictKind.infrastructure_error]
    dropped = int(metrics.loc[metrics["name"] == "rollout/num_groups_failed", "value"].sum())
    sentences = []
    if len(failed):
        sentences.append(
            f"{len(failed):,} evaluation samples of {failed['problem_id'].nunique():,} problems have no verdict "
            "(infrastructure errors); no score counts them."
        )
    if dropped:
        sentences.append(f"{dropped:,} training groups were dropped because a rollout had no verdict.")
    hit = [set(problems) for _, problems in failed.groupby(EVALUATION)["problem_id"]]
    observed, expected = recurrences(hit, scores["problem_id"].nunique())
    if observed and stats.poisson.sf(observed - 1, expected) < SIGNIFICANT:
        counts = pd.Series([problem for problems in hit for problem in sorted(problems)]).value_counts()
        names = [str(name) for name, count in counts.items() if count > 1]
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        sentences.append(
            f"These errors depend on the program: problems {', '.join(names[:MOST_NAMED])}{more} have no verdict in "
            f"several evaluations ({observed:,} recurrences, where chance explains {expected:.1f}). Slow programs on a "
            "busy machine are the usual cause. Problems that are lost in this way are lost in training too, so its "
            "groups are a biased sample: raise verify.wall_factor or lower verify.workers."
        )
    return sentences


def recurrences(hit: Iterable[set[str]], num_problems: int) -> tuple[int, float]:
    """Pairs of evaluations that lost the same problem: observed, and expected if every evaluation lost random problems.

    Args:
        hit: the problems that each evaluation lost.
    """
    pairs = list(combinations(hit, 2))
    observed = sum(len(one & other) for one, other in pairs)
    return observed, sum(len(one) * len(other) for one, other in pairs) / max(num_problems, 1)
