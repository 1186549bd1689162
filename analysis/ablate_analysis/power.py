"""The smallest difference that an experiment can detect, and the seeds, problems or samples that it needs.

The variance of a paired difference between two arms, over S seeds, P problems and N samples of each:

    V(S, P, N) = 2 (seed + sample / (P N)) / S + problem / P
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ablate_analysis.stats import matched_seed_variance

LARGEST_PLAN = 10_000  # seeds, problems or samples; a larger plan is not realistic


@dataclass(frozen=True)
class DifferenceVariance:
    """Components of the variance of a paired difference, and the design they belong to. Shares squared."""

    seed: float  # of one run around its arm and seed, without the noise of its samples
    sample: float  # p (1 - p) of one sample, mean over runs and problems
    problem: float  # of a problem's true difference around the mean difference
    num_arms: int
    num_seeds: int
    num_problems: int
    num_samples: int

    @property
    def parts(self) -> tuple[float, float]:
        """The part of the variance that comes from seeds (with the samples' noise), and the part from problems."""
        run = self.seed + self.sample / (self.num_problems * self.num_samples)
        return 2 * run / self.num_seeds, self.problem / self.num_problems

    @property
    def standard_error(self) -> float:
        return float(np.sqrt(sum(self.parts)))

    @property
    def degrees(self) -> float:
        """Satterthwaite's degrees of freedom of the sum of both parts."""
        seeds, problems = self.parts
        seed_degrees = (self.num_arms - 1) * (self.num_seeds - 1)
        if (seeds > 0 and seed_degrees == 0) or (problems > 0 and self.num_problems == 1):
            return 0.0
        whole = seeds**2 / seed_degrees if seeds > 0 else 0.0
        whole += problems**2 / (self.num_problems - 1) if problems > 0 else 0.0
        return (seeds + problems) ** 2 / whole if whole > 0 else np.inf


def difference_variance(rate_ASP: NDArray[np.float64], num_samples: int) -> DifferenceVariance:
    """Estimate the components from the Pass@1 of A arms on matched seeds and problems, N samples each.

    The other arms are compared with the first one. Negative estimates of a component, which small designs
    give, become 0.
    """
    num_arms, num_seeds, num_problems = rate_ASP.shape
    # The unbiased estimate of p (1 - p) from N samples; from one sample there is none.
    sample = float((rate_ASP * (1 - rate_ASP)).mean()) * num_samples / max(num_samples - 1, 1)
    residual = matched_seed_variance(rate_ASP.mean(axis=2))
    seed = residual.variance - sample / (num_problems * num_samples)
    difference_CP = (rate_ASP[1:] - rate_ASP[0]).mean(axis=1)
    problem = float(difference_CP.var(axis=1, ddof=1).mean()) - 2 * sample / (num_seeds * num_samples)
    counts = {"num_arms": num_arms, "num_seeds": num_seeds, "num_problems": num_problems, "num_samples": num_samples}
    return DifferenceVariance(max(seed, 0.0), sample, max(problem, 0.0), **counts)


def minimum_detectable(design: DifferenceVariance, confidence: float, power: float) -> float:
    """Return the true difference that a two-sided test at 1 - confidence detects with probability ``power``.

    It is ``(t(1 - alpha/2) + t(power)) x standard error``, and infinite where one seed says nothing about
    other seeds, or one problem nothing about other problems.
    """
    from scipy import stats

    if design.degrees <= 0:
        return np.inf
    tail = 1 - (1 - confidence) / 2
    quantiles = stats.t.ppf(tail, design.degrees) + stats.t.ppf(power, design.degrees)
    return float(quantiles * design.standard_error)


def needed(design: DifferenceVariance, field: str, difference: float, confidence: float, power: float) -> int | None:
    """Return the smallest ``num_seeds``, ``num_problems`` or ``num_samples`` that detects ``difference``.

    The rest of the design does not change. The result is None if not even ``LARGEST_PLAN`` suffices, because another
    part of the variance is too large.
    """
    low, high = 1, LARGEST_PLAN

    def detects(count: int) -> bool:
        return minimum_detectable(replace(design, **{field: count}), confidence, power) <= difference

    if not detects(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if detects(middle) else (middle + 1, high)
    return low
