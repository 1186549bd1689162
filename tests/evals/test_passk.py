"""pass@k is the average over all subsets of k samples, and its interval covers."""

from __future__ import annotations

from itertools import combinations
from statistics import mean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.evals.passk import bootstrap_interval, pass_at_k

counts = st.integers(1, 8).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n)))


@given(counts)
def test_pass_at_k_is_the_share_of_subsets_of_k_that_hold_a_pass(case):
    num_samples, num_passed, k = case
    passed = [True] * num_passed + [False] * (num_samples - num_passed)
    share = mean(any(subset) for subset in combinations(passed, k))
    assert pass_at_k(num_samples, num_passed, k) == pytest.approx(share, abs=1e-12)


@given(counts)
def test_pass_at_1_is_the_share_that_passed(case):
    num_samples, num_passed, _ = case
    assert pass_at_k(num_samples, num_passed, 1) == pytest.approx(num_passed / num_samples, abs=1e-12)


def test_pass_at_k_is_stable_for_very_many_samples():
    assert pass_at_k(100_000, 0, 50_000) == 0
    assert pass_at_k(100_000, 1, 50_000) == pytest.approx(0.5)
    assert pass_at_k(100_000, 60_000, 50_000) == 1


@pytest.mark.parametrize(("num_samples", "num_passed", "k"), [(4, 5, 1), (4, -1, 1), (4, 2, 5), (4, 2, 0)])
def test_pass_at_k_is_not_defined_beyond_its_samples(num_samples, num_passed, k):
    with pytest.raises(ValueError, match="not defined"):
        pass_at_k(num_samples, num_passed, k)


def test_the_interval_holds_the_mean_and_is_a_function_of_its_seed():
    score = np.random.default_rng(0).random(60)
    low, high = bootstrap_interval(score, 2000, seed=1)
    assert low < score.mean() < high
    assert bootstrap_interval(score, 2000, seed=1) == (low, high)
    assert bootstrap_interval(score, 2000, seed=2) != (low, high)


def test_the_interval_is_1_96_standard_errors_for_many_problems():
    score = np.random.default_rng(0).random(400)
    low, high = bootstrap_interval(score, 20_000, seed=1)
    assert (high - low) / 2 == pytest.approx(1.96 * score.std() / np.sqrt(400), rel=0.05)


def test_equal_scores_have_an_interval_of_no_width():
    assert bootstrap_interval([0.25] * 10, 100, seed=0) == (0.25, 0.25)


def test_an_interval_over_no_problems_is_refused():
    with pytest.raises(ValueError, match="no problems"):
        bootstrap_interval([], 100, seed=0)
