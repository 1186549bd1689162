"""What an experiment can detect, against closed forms and against simulated experiments."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats as distributions

from ablate_analysis import power, stats

DESIGN = power.DifferenceVariance(
    seed=4e-4, sample=0.2, problem=0.01, num_arms=4, num_seeds=3, num_problems=40, num_samples=8
)


def test_variance_of_a_difference_is_the_sum_of_its_parts():
    expected = 2 * (4e-4 + 0.2 / 320) / 3 + 0.01 / 40
    assert DESIGN.standard_error == pytest.approx(math.sqrt(expected))


def test_minimum_detectable_is_two_quantiles_of_standard_error():
    quantiles = distributions.t.ppf(0.975, DESIGN.degrees) + distributions.t.ppf(0.8, DESIGN.degrees)
    assert power.minimum_detectable(DESIGN, 0.95, 0.8) == pytest.approx(quantiles * DESIGN.standard_error)


def test_without_seed_noise_the_degrees_are_those_of_the_problems():
    assert replace(DESIGN, seed=0.0, sample=0.0).degrees == pytest.approx(39)


def test_one_seed_detects_nothing():
    assert power.minimum_detectable(replace(DESIGN, num_seeds=1), 0.95, 0.8) == math.inf


def test_one_problem_detects_nothing_and_a_huge_difference_needs_two():
    assert power.minimum_detectable(replace(DESIGN, num_problems=1), 0.95, 0.8) == math.inf
    assert power.needed(DESIGN, "num_problems", 100.0, 0.95, 0.8) == 2


@pytest.mark.parametrize("field", ["num_seeds", "num_problems", "num_samples"])
def test_the_needed_count_is_the_smallest_that_detects(field):
    difference = 0.075
    count = power.needed(DESIGN, field, difference, 0.95, 0.8)
    assert count > getattr(DESIGN, field)
    assert power.minimum_detectable(replace(DESIGN, **{field: count}), 0.95, 0.8) <= difference
    assert power.minimum_detectable(replace(DESIGN, **{field: count - 1}), 0.95, 0.8) > difference


def test_no_number_of_samples_makes_up_for_few_problems():
    assert power.needed(DESIGN, "num_samples", 0.001, 0.95, 0.8) is None


def simulate(source: np.random.Generator, gap: float) -> np.ndarray:
    """Pass@1 (ASP) of three arms on 60 problems, 4 seeds, 8 samples; arm 1 is ``gap`` better in truth."""
    base_P = source.uniform(0.2, 0.7, 60)
    true_ASP = np.broadcast_to(base_P, (3, 4, 60)) + source.normal(0, 0.02, (3, 4, 1))
    true_ASP = np.clip(true_ASP + np.array([0.0, gap, 0.0])[:, None, None], 0, 1)
    return source.binomial(8, true_ASP) / 8


def test_components_are_recovered_from_simulated_arms():
    source = np.random.default_rng(3)
    found = [power.difference_variance(simulate(source, 0.0), 8) for _ in range(200)]
    assert np.mean([design.sample for design in found]) == pytest.approx(0.23, abs=0.02)
    assert np.median([design.seed for design in found]) == pytest.approx(4e-4, rel=0.4)
    assert np.mean([design.problem for design in found]) < 0.01  # there is no difference between problems


def test_a_detectable_difference_is_found_about_as_often_as_promised():
    source = np.random.default_rng(4)
    design = power.DifferenceVariance(4e-4, 0.22, 0.0, 3, 4, 60, 8)
    gap = power.minimum_detectable(design, 0.95, 0.8)
    found = 0
    for _ in range(200):
        score_ASP = simulate(source, gap)
        matched = stats.matched_seed_variance(score_ASP.mean(axis=2))
        weight_RP = stats.problem_weights(60, 400, source)
        difference_R = stats.contrast_resamples(score_ASP[[1, 0]], np.array([1.0, -1.0]), weight_RP, matched, source)
        found += np.quantile(difference_R, 0.025) > 0
    # The interval also resamples problems, which costs some power where problems do not differ.
    assert 0.55 <= found / 200 <= 0.9
