"""A design that looks several times keeps its error rate, and looking without one does not."""

from __future__ import annotations

import numpy as np
import pytest

from ablate_analysis.sequential import Design, anytime_p, levels, look_at, null_p_values, spent

DESIGN = Design(looks=(4, 8, 12), alpha=0.05, effect=1.0, futility=0.0)


def test_the_spending_function_ends_at_alpha_and_spends_little_at_first():
    assert spent(1.0, 0.05) == pytest.approx(0.05)
    assert spent(1 / 3, 0.05) == pytest.approx(0.000207, rel=0.01)


@pytest.mark.parametrize(
    ("looks", "expected"),
    [((4, 8, 12), (0.00021, 0.0122, 0.0436)), ((4, 6, 8), (0.0030, 0.0168, 0.0403)), ((8,), (0.05,))],
)
def test_nominal_levels_are_those_of_an_independent_calculation(looks, expected):
    assert levels(looks, looks[-1], 0.05) == pytest.approx(expected, rel=0.06)


def test_the_error_over_all_looks_is_alpha():
    p_KR = null_p_values((4, 8, 12))
    claims = (p_KR <= np.array(levels((4, 8, 12), 12, 0.05))[:, None]).any(axis=0)
    assert claims.mean() == pytest.approx(0.05, abs=0.001)


def test_looking_after_every_seed_at_five_percent_claims_far_too_often():
    p_KR = null_p_values(tuple(range(4, 13)))
    assert (p_KR <= 0.05).any(axis=0).mean() > 0.13


def claims_of(effect: float, num: int, seed: int, design: Design) -> tuple[float, float]:
    """The share of experiments that end in a claim, and their mean number of seeds."""
    rng = np.random.default_rng(seed)
    claims, seeds = 0, 0
    for _ in range(num):
        difference_S = rng.normal(effect, 1.0, design.most)
        taken: list[int] = []
        for look in design.looks:
            found = look_at(difference_S[:look], taken, design)
            taken.append(look)
            if found.verdict != "continue":
                break
        claims += found.verdict == "claim"
        seeds += found.num_seeds
    return claims / num, seeds / num


def test_decisions_keep_the_error_rate_and_stop_early_where_a_difference_is_large():
    nothing, _ = claims_of(0.0, 2000, 1, DESIGN)
    large, seeds = claims_of(2.0, 200, 2, DESIGN)
    assert nothing < 0.065
    assert large > 0.95
    assert seeds < 9


def test_futility_saves_seeds_and_raises_no_error():
    plain, all_seeds = claims_of(0.0, 1000, 3, DESIGN)
    futile, fewer = claims_of(0.0, 1000, 3, Design((4, 8, 12), 0.05, 1.0, 0.5))
    assert futile <= plain
    assert fewer < all_seeds


def test_a_repeated_interval_is_wider_than_the_usual_one_and_shrinks_to_it():
    difference_S = np.random.default_rng(4).normal(0.005, 0.01, 12)  # far from the limits of a difference of scores
    first, last = look_at(difference_S[:4], (), DESIGN), look_at(difference_S, (4, 8), DESIGN)
    assert first.interval.high - first.interval.low > 3 * (last.interval.high - last.interval.low)
    assert last.verdict in ("claim", "end")


def test_a_moved_look_is_right_without_a_new_plan():
    assert look_at(np.arange(5.0), (), DESIGN).level == pytest.approx(spent(5 / 12, 0.05), rel=1e-6)


def test_an_anytime_p_value_holds_at_every_look():
    rng = np.random.default_rng(5)
    claims = 0
    for _ in range(1000):
        difference_S = rng.normal(size=24)
        claims += any(anytime_p(difference_S[:count]) <= 0.05 for count in range(4, 25))
    assert claims / 1000 < 0.05
