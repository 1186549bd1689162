"""The CodeElo rating: which rating a contestant with these samples would have, contest by contest.

The formula is that of QwenLM/CodeElo (arXiv 2501.01257), as DeepCoder's script computes it: in each contest the score
by Codeforces' rules, the rank among its rated rows, and the largest rating whose expected rank is not better. The
rating is the mean over contests. The order in which samples are tried decides how many fail before the first that
passes: the published scripts take the order of the file, and ``expected_score`` takes the mean over all orders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb

import numpy as np

MIN_ROWS = 200  # a contest with no more rated rows does not count
PENALTY_POINTS = 50  # lost for each failed attempt before the first that passes
PENALTY_MINUTES = 10  # likewise, where problems have no points
ABOVE_BEST = 100  # the highest rating that a contest can give, above the best of its rows
SPREAD = 400.0  # of Elo's curve

Passed = Mapping[str, Sequence[bool]]  # by index of the problem, such as "A": each sample in order


@dataclass(frozen=True)
class Contest:
    """A contest's problems and its rated rows in the order of the standings.

    Example: ``Contest("1971", {"A": 500.0, "B": None}, points_R=..., penalty_R=..., rating_R=...)``; a problem without
    points counts 1, and then penalties decide.
    """

    name: str
    points_of: Mapping[str, float | None]
    points_R: np.ndarray
    penalty_R: np.ndarray
    rating_R: np.ndarray  # before the contest; in any order

    @property
    def counts(self) -> bool:
        return len(self.points_R) > MIN_ROWS


def score(points: float | None, num_failed: int) -> tuple[float, float]:
    """Points and penalty of a problem that is solved after ``num_failed`` failed attempts."""
    if points is None:
        return 1.0, float(PENALTY_MINUTES * num_failed)
    return max(0.0, points - PENALTY_POINTS * num_failed), 0.0


def score_in_order(contest: Contest, passed: Passed) -> tuple[float, float]:
    """Points and penalty when samples are tried in their order until one passes."""
    total = np.zeros(2)
    for name, samples in passed.items():
        if name in contest.points_of and any(samples):
            total += score(contest.points_of[name], list(samples).index(True))
    return float(total[0]), float(total[1])


def expected_score(contest: Contest, passed: Passed) -> tuple[float, float]:
    """Mean points and penalty over all orders in which samples can be tried."""
    total = np.zeros(2)
    for name, samples in passed.items():
        num, right = len(samples), sum(map(bool, samples))
        if name not in contest.points_of or not right:
            continue
        for failed in range(num - right + 1):  # the first `failed` of an order fail, and the next passes
            chance = comb(num - failed - 1, right - 1) / comb(num, right)
            total += chance * np.array(score(contest.points_of[name], failed))
    return float(total[0]), float(total[1])


def rank_of(contest: Contest, points: float, penalty: float) -> int:
    """The position, from 0, of the first row that this score beats; the number of rows where it beats none."""
    beaten = (contest.points_R < points) | ((contest.points_R == points) & (contest.penalty_R > penalty))
    return int(np.argmax(beaten)) if beaten.any() else len(beaten)


def expected_ranks(contest: Contest) -> np.ndarray:
    """The expected rank, 1 plus the rows that win, of every rating from 0 to the best row's plus 99."""
    ratings, counts = np.unique(contest.rating_R, return_counts=True)
    rating_X = np.arange(int(contest.rating_R.max()) + ABOVE_BEST, dtype=float)
    loses_XU = 1 / (1 + 10 ** ((rating_X[:, None] - ratings[None, :]) / SPREAD))
    return 1 + loses_XU @ counts


def rating_of(expected_X: np.ndarray, rank: int) -> int:
    """The largest rating whose expected rank is at least ``rank``; 0 where there is none."""
    return int(max(np.count_nonzero(expected_X >= rank) - 1, 0))


def rate(contest: Contest, passed: Passed, expected_X: np.ndarray, in_order: bool) -> int:
    """The rating of one contest."""
    found = score_in_order(contest, passed) if in_order else expected_score(contest, passed)
    return rating_of(expected_X, rank_of(contest, *found))


@dataclass(frozen=True)
class Rating:
    """A mean over contests with its 95 % interval.

    Example: ``Rating(1936.0, 1850.0, 2010.0, {"1971": 1800, ...})``
    """

    mean: float
    low: float
    high: float
    of_contest: dict[str, int]


def rate_all(
    contests: Sequence[Contest], passed_of: Mapping[str, Passed], in_order: bool, num_resamples: int, seed: int
) -> Rating:
    """The rating over all contests that count, and an interval.

    Contests are drawn with replacement, and in each of them the order of every problem's samples is drawn as well.
    """
    rated = [each for each in contests if each.counts and each.name in passed_of]
    expected = [expected_ranks(each) for each in rated]
    pairs = list(zip(rated, expected, strict=True))
    of_contest = {each.name: rate(each, passed_of[each.name], ranks_X, in_order) for each, ranks_X in pairs}
    if not of_contest:
        return Rating(float("nan"), float("nan"), float("nan"), {})
    rng = np.random.default_rng(seed)
    drawn = np.empty((num_resamples, len(pairs)))
    for column, (contest, ranks_X) in enumerate(pairs):
        passed = {name: np.asarray(samples, dtype=bool) for name, samples in passed_of[contest.name].items()}
        for row in range(num_resamples):
            shuffled = {name: samples[rng.permutation(len(samples))].tolist() for name, samples in passed.items()}
            drawn[row, column] = rate(contest, shuffled, ranks_X, in_order=True)
    choice_RC = rng.integers(len(pairs), size=drawn.shape)
    means = np.take_along_axis(drawn, choice_RC, axis=1).mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return Rating(float(np.mean(list(of_contest.values()))), float(low), float(high), of_contest)


def percentile(rating: float, sorted_ratings: np.ndarray) -> float:
    """The share of people below a rating in percent, to one digit as the published scripts have it."""
    return round(float(np.searchsorted(sorted_ratings, rating, side="left")) / len(sorted_ratings) * 100, 1)


def table(ratings: Mapping[str, Rating], tables: Mapping[str, np.ndarray]) -> list[str]:
    """The ratings by tests in markdown, and by how much the examples inflate them.

    Args:
        tables: sorted ratings of people, by name of the percentile.
    """
    lines = [f"| | CodeElo rating | 95 % interval | contests |{''.join(f' {name} percentile |' for name in tables)}"]
    lines.append("|---" * (4 + len(tables)) + "|")
    for name, rating in ratings.items():
        interval = f"[{rating.low:.0f}, {rating.high:.0f}]"
        cells = [f"tests={name}", f"{rating.mean:.0f}", interval, str(len(rating.of_contest))]
        cells += [f"{percentile(rating.mean, each):.1f}" for each in tables.values()]
        lines.append(f"| {' | '.join(cells)} |")
    if ratings.keys() >= {"sample", "full"}:
        inflation = ratings["sample"].mean - ratings["full"].mean
        lines += ["", f"The examples alone inflate the rating by {inflation:.0f}."]
    return lines
