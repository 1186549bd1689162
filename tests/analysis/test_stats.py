"""Closed forms, and coverage: of 95 intervals in a hundred the truth is inside."""

from __future__ import annotations

import math
from functools import cache
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.errors import UserError
from ablate_analysis import stats
from ablate_analysis.simulate import Coverage, Design, coverage, hierarchical_bootstrap, unequal_coverage


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@given(st.integers(1, 9), st.data())
def test_pass_at_k_is_the_share_of_k_subsets_with_a_pass(num_samples, data):
    k = data.draw(st.integers(1, num_samples))
    num_correct = data.draw(st.integers(0, num_samples))
    subsets = list(combinations([True] * num_correct + [False] * (num_samples - num_correct), k))
    expected = sum(any(subset) for subset in subsets) / len(subsets)
    assert stats.pass_at_k_table(num_samples, k)[num_correct] == pytest.approx(expected)


def test_pass_at_more_samples_than_there_are_is_refused():
    with pytest.raises(UserError, match="pass@5 needs 1 <= k <= 4"):
        stats.pass_at_k_table(4, 5)


def test_a_sample_without_a_verdict_counts_nowhere():
    passed = np.array([[[True, False, False, False]]])
    verified = np.array([[[True, True, False, False]]])
    assert stats.score_table(passed, verified, 1).item() == 0.5


def test_problem_weights_are_counts_of_p_draws():
    weight_RP = stats.problem_weights(7, 50, rng())
    assert weight_RP.sum(axis=1) == pytest.approx(np.ones(50))
    assert (weight_RP * 7 == np.round(weight_RP * 7)).all()


def test_bootstrap_over_problems_has_the_standard_error_of_a_mean():
    score_P = rng().random(200)
    resampled_R = stats.problem_weights(200, 20_000, rng()) @ score_P
    assert resampled_R.std() == pytest.approx(score_P.std() / math.sqrt(200), rel=0.02)


def test_bootstrap_over_samples_has_the_binomial_standard_error():
    passed_SPN = np.zeros((1, 50, 8), bool)
    passed_SPN[:, :, :2] = True  # every problem at 1/4
    resampled_R = hierarchical_bootstrap(passed_SPN, 20_000, rng(), ("samples",))
    assert resampled_R.mean() == pytest.approx(0.25, abs=0.001)
    assert resampled_R.std() == pytest.approx(math.sqrt(0.25 * 0.75 / (50 * 8)), rel=0.03)


def test_bootstrap_over_seeds_alone_has_their_spread_divided_by_s():
    passed_SPN = np.zeros((4, 10, 2), bool)
    for seed, num_right in enumerate((2, 4, 6, 8)):
        passed_SPN[seed, :num_right] = True
    resampled_R = hierarchical_bootstrap(passed_SPN, 20_000, rng(), ("seeds",))
    assert resampled_R.std() == pytest.approx(np.std([0.2, 0.4, 0.6, 0.8]) / math.sqrt(4), rel=0.02)


def test_bootstrap_over_nothing_is_the_score_itself():
    passed_SPN = rng().random((2, 5, 4)) < 0.5
    assert hierarchical_bootstrap(passed_SPN, 3, rng(), ()) == pytest.approx(passed_SPN.mean())


def test_seed_variance_pools_the_arms():
    arms = [np.array([[0.4], [0.6]]), np.array([[0.1], [0.2], [0.3]])]
    pooled = stats.seed_variance(arms)
    assert pooled.degrees == 3
    assert pooled.variance == pytest.approx((0.02 + 0.02) / 3)


def test_one_seed_per_arm_leaves_the_seed_variance_unknown():
    unknown = stats.seed_variance([np.array([[0.4, 0.2]])])
    assert unknown.degrees == 0
    assert (stats.seed_draws(unknown, 1, 10, rng()) == 0).all()


def test_with_two_arms_the_matched_variance_is_half_that_of_the_differences():
    mean_AS = np.array([[0.5, 0.6, 0.8], [0.4, 0.7, 0.5]])
    matched = stats.matched_seed_variance(mean_AS)
    assert matched.degrees == 2
    assert 2 * matched.variance == pytest.approx(np.var(mean_AS[0] - mean_AS[1], ddof=1))


def test_a_seed_effect_that_all_arms_share_leaves_a_paired_difference_alone():
    mean_AS = np.array([[0.5, 0.9, 0.1], [0.4, 0.8, 0.0], [0.45, 0.85, 0.05]])
    assert stats.matched_seed_variance(mean_AS).variance == pytest.approx(0.0, abs=1e-12)


def test_the_seeds_part_of_an_interval_is_students():
    from scipy import stats as distributions

    seeds = stats.SeedVariance(variance=0.01, degrees=3)
    drawn_R = stats.seed_draws(seeds, 2, 200_000, rng())
    low, high = np.quantile(drawn_R, [0.025, 0.975])
    half = distributions.t.ppf(0.975, 3) * math.sqrt(0.01 / 2)
    assert (low, high) == (pytest.approx(-half, rel=0.03), pytest.approx(half, rel=0.03))


def test_a_difference_of_arms_is_a_contrast_and_pairs_the_problems():
    base_SP = rng().random((2, 30))
    score_ASP = np.stack([base_SP + 0.1, base_SP])
    weight_RP = stats.problem_weights(30, 100, rng())
    known = stats.SeedVariance(0.0, 0)
    difference_R = stats.contrast_resamples(score_ASP, np.array([1.0, -1.0]), weight_RP, known, rng())
    assert difference_R == pytest.approx(np.full(100, 0.1))


def test_an_interval_keeps_within_its_bounds_and_around_its_point():
    interval = stats.interval(0.9, np.linspace(0.7, 1.2, 1001), 0.95, (0.0, 1.0))
    assert (interval.low, interval.high) == (pytest.approx(0.7125), 1.0)


def test_a_score_of_zero_or_one_still_has_an_interval():
    """The rule of three, for 97.5 %: none of 40 right leaves up to 8.8 % possible."""
    none, every = stats.unanimous_interval(0.0, 40, 0.95), stats.unanimous_interval(1.0, 40, 0.95)
    assert (1 - none.high) ** 40 == pytest.approx(0.025)
    assert (none.low, every.low, every.high) == (0.0, pytest.approx(1 - none.high), 1.0)


def test_probability_of_improvement_counts_ties_half():
    assert stats.probability_of_improvement(np.array([1.0, 0.0, -1.0, 2.0])) == 0.625


def test_p_value_is_one_without_a_difference_and_never_zero():
    assert stats.two_sided_p(np.array([-1.0, 1.0] * 50)) == 1.0
    assert stats.two_sided_p(np.ones(999)) == pytest.approx(2 / 1000)


def test_holm_gives_the_textbook_values():
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_lowers_a_p_value_and_keeps_their_order(p_values):
    adjusted = stats.holm(p_values)
    assert all(new >= old and new <= 1 for old, new in zip(p_values, adjusted, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()


# --- coverage ---------------------------------------------------------------------------------------------------------


@cache
def shares_inside(num_seeds: int, seed_deviation: float) -> Coverage:
    return coverage(
        Design(num_seeds=num_seeds, seed_deviation=seed_deviation), num_experiments=400, resamples=800, seed=1
    )


@pytest.mark.parametrize(("num_seeds", "seed_deviation"), [(2, 0.6), (3, 0.3)])
def test_intervals_hold_the_truth_as_often_as_they_say(num_seeds, seed_deviation):
    found = shares_inside(num_seeds, seed_deviation)
    assert found.mean > 0.92  # 400 experiments: three standard errors below 95 %
    assert found.difference > 0.92


def test_a_plain_bootstrap_over_two_seeds_does_not():
    """Why the error from the seeds is drawn from Student's t."""
    found = shares_inside(2, 0.6)
    assert found.plain_mean < 0.87
    assert found.plain_difference < 0.87


def test_a_pooled_variance_is_too_small_for_the_cell_that_scatters_most_and_its_own_is_not():
    found = unequal_coverage(Design(3, 0.15, first_factor=4.0), num_experiments=150, resamples=400, seed=1)
    assert found.first_mean < 0.9 < found.own_mean  # 150 experiments: three standard errors below 95 %
    assert found.other_difference > 0.95
    assert found.own_width > found.width
