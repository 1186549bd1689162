"""pass@k, unbiased, and its interval over problems."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

CONFIDENCE = 0.95


def pass_at_k(num_samples: int, num_passed: int, k: int) -> float:
    """The probability that at least one of k samples passes, estimated without bias from n samples of which c passed.

    It is ``1 - C(n - c, k) / C(n, k)``, computed as the product of ``1 - k / i`` for i = n - c + 1 .. n: no overflow
    (Chen et al., arXiv 2107.03374, equation 1 and figure 3).

    Example:
        ``pass_at_k(4, 1, 2) == 0.5``: half of the pairs contain the sample that passed.

    Raises:
        ValueError: unless 0 <= c <= n and 1 <= k <= n.
    """
    if not 0 <= num_passed <= num_samples or not 1 <= k <= num_samples:
        raise ValueError(f"pass@{k} of {num_passed} passed among {num_samples} samples is not defined")
    if num_samples - num_passed < k:
        return 1.0
    return float(1.0 - np.prod(1.0 - k / np.arange(num_samples - num_passed + 1, num_samples + 1)))


def bootstrap_interval(score_P: Sequence[float], num_resamples: int, seed: int) -> tuple[float, float]:
    """The 95 % percentile interval of the mean over problems, by drawing P problems with replacement.

    Problems are the unit because samples of one problem are not independent. Drawing P problems with replacement gives
    multinomial counts, so all resamples are one matrix product.

    Args:
        score_P: one number per problem.

    Raises:
        ValueError: without any problem.
    """
    score = np.asarray(score_P, dtype=np.float64)
    if score.size == 0:
        raise ValueError("an interval over no problems is not defined")
    count_RP = np.random.default_rng(seed).multinomial(score.size, np.full(score.size, 1 / score.size), num_resamples)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(count_RP @ score / score.size, [tail, 1 - tail])
    return float(low), float(high)
