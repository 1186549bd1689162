"""The numbers of a comparison against formulas written out here, and against simulated experiments."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from other_files import WRITERS, lines
from scipy import stats as distributions

from ablate_analysis import paired as statistics
from ablate_analysis.paired import Estimate
from ablate_analysis.results import numbers, parts
from ablate_analysis.results.command import read_arms
from ablate_analysis.results.pairing import pair


@pytest.fixture
def both(passed, tmp_path):
    arms = []
    for place, letter in enumerate("ab"):
        (tmp_path / letter).mkdir()
        arms += read_arms({letter: [WRITERS["csv"][0](tmp_path / letter, passed[place])]}, {})
    return pair(arms)


def test_a_paired_difference_is_students_over_problems(passed, both):
    (found,) = numbers.differences(both, [(0, 1)], numbers.Settings())
    gap_P = passed[1].mean(axis=1) - passed[0].mean(axis=1)
    expected = distributions.ttest_1samp(gap_P, 0)
    interval = expected.confidence_interval(0.95)
    assert found.estimate.point == pytest.approx(gap_P.mean())
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.interval.low, found.interval.high) == pytest.approx((interval.low, interval.high))
    quantiles = distributions.t.ppf(0.975, 39) + distributions.t.ppf(0.8, 39)
    assert found.detectable == pytest.approx(quantiles * gap_P.std(ddof=1) / math.sqrt(40))


def test_pass_at_k_is_the_share_of_k_subsets_with_a_pass(passed, both):
    for arm, passed_PN in zip(both.arms, passed, strict=True):
        for k in (1, 2, 3, 4):
            expected = np.mean([[row[list(subset)].any() for subset in combinations(range(4), k)] for row in passed_PN])
            assert numbers.score_of(arm, k, None, numbers.Settings()).point == pytest.approx(expected)


def test_the_order_of_files_and_rows_changes_nothing_but_the_sign(passed, tmp_path):
    def difference(first, second):
        arms = [*read_arms({"x": [first]}, {}), *read_arms({"y": [second]}, {})]
        return numbers.differences(pair(arms), [(0, 1)], numbers.Settings())[0].estimate

    rows = [[{"problem": p, "sample": n, "passed": bool(v)} for (p, n), v in np.ndenumerate(each)] for each in passed]
    paths = [lines(tmp_path / f"{i}.jsonl", each) for i, each in enumerate(rows)]
    shuffled = lines(tmp_path / "s.jsonl", [rows[0][i] for i in np.random.default_rng(0).permutation(len(rows[0]))])
    assert difference(paths[0], paths[1]).point == pytest.approx(-difference(paths[1], shuffled).point)
    assert difference(paths[0], paths[1]).error == pytest.approx(difference(shuffled, paths[1]).error)


def test_mcnemars_mid_p_halves_the_observed_outcome():
    outcomes = [math.comb(9, k) / 2**9 for k in range(10)]
    assert statistics.mcnemar_mid_p(2, 7) == pytest.approx(2 * sum(outcomes[:2]) + outcomes[2])
    assert statistics.mcnemar_mid_p(4, 4) == pytest.approx(1.0, abs=0.01)


def test_clusters_of_one_problem_change_nothing_and_whole_clusters_count_once():
    value_P = np.random.default_rng(1).random(30)
    alone = statistics.mean_over_problems(value_P)
    assert statistics.mean_over_problems(value_P, [str(p) for p in range(30)]).error == pytest.approx(alone.error)
    doubled = statistics.mean_over_problems(np.repeat(value_P, 2), [str(p // 2) for p in range(60)])
    assert (doubled.error, doubled.degrees) == (pytest.approx(alone.error), 29)


def test_the_same_problems_again_have_the_binomial_error():
    rate_AP = np.array([[0.5, 0.25], [0.75, 1.0]])
    expected = math.sqrt(((0.25 + 0.1875) / 3 + (0.1875 + 0) / 3) / 2 / 2)
    assert statistics.sampling_error(rate_AP, np.full((2, 2), 4)) == pytest.approx(expected)


@pytest.mark.parametrize("target", [0.02, 0.05])
def test_the_needed_number_of_problems_detects_the_difference(target):
    gap_P = np.random.default_rng(2).normal(0.01, 0.2, 100)
    count = statistics.needed_problems(gap_P, target, 0.95, 0.8)
    error = math.sqrt(gap_P.var(ddof=1) / count)
    assert Estimate(0.0, ((error, 99),)).detectable(0.95, 0.8) <= target * 1.0001


def test_where_problems_alone_are_too_noisy_no_number_of_samples_suffices():
    rng = np.random.default_rng(3)
    rate_AP = np.stack([np.zeros(50), rng.random(50)])
    assert statistics.needed_samples(rate_AP[1] - rate_AP[0], rate_AP, 4, 0.01, 0.95, 0.8) is None


def test_intervals_over_runs_hold_the_truth_as_often_as_they_say(tmp_path):
    """Three matched runs of two equal arms; the runs' error is known from 2 degrees of freedom only."""
    rng = np.random.default_rng(4)
    held = 0
    for _ in range(200):
        base_P = rng.normal(0.5, 0.2, 60)
        first_SP = base_P + rng.normal(0, 0.03, (3, 1)) + rng.normal(0, 0.1, (3, 60))
        second_SP = base_P + rng.normal(0, 0.03, (3, 1)) + rng.normal(0, 0.1, (3, 60))
        seeds = numbers.matched_seed_variance(np.stack([first_SP.mean(axis=1), second_SP.mean(axis=1)]))
        interval = numbers.gap_of(first_SP, second_SP, None, seeds).interval(0.95)
        held += interval.low <= 0 <= interval.high
    assert held / 200 > 0.92


def test_a_model_compared_with_itself_differs_nowhere(passed, tmp_path, compare):
    path = WRITERS["csv"][0](tmp_path, passed[0])
    out = " ".join(compare(f"a={path}", f"b={path}").split())
    assert "No difference between a and b is detectable" in out
    assert "b minus a is +0.0 points" in out


@pytest.mark.parametrize(("num_problems", "is_said"), [(3, False), (5, False), (8, True)])
def test_problems_that_all_agree_are_no_proof_while_they_are_few(tmp_path, compare, num_problems, is_said):
    """All differences are equal, so their spread is 0; three problems that one model wins are not a p of 0."""
    paths = [tmp_path / f"{name}.jsonl" for name in "ab"]
    for path, passed in zip(paths, (False, True), strict=True):
        lines(path, [{"problem": p, "passed": passed} for p in range(num_problems)])
    out = " ".join(compare(f"a={paths[0]}", f"b={paths[1]}").split())
    assert ("b is above a" in out) == is_said
    assert "[+100.0, +100.0]" not in out
    again = " ".join(compare(f"a={paths[0]}", f"b={paths[0]}").split())
    assert "[+0.0, +0.0]" not in again


def test_no_sentence_ranks_inside_the_noise(tmp_path, compare):
    """Of 60 comparisons of equal models, about one in twenty claims a difference, and not one in four."""
    rng = np.random.default_rng(5)
    claims = 0
    for index in range(60):
        rows = rng.random((2, 30, 2)) < rng.random(30)[:, None]
        arms = []
        for name, passed_PN in zip("ab", rows, strict=True):
            table = [{"problem": p, "sample": n, "passed": bool(v)} for (p, n), v in np.ndenumerate(passed_PN)]
            path = lines(tmp_path / f"{name}{index}.jsonl", table)
            arms += read_arms({name: [path]}, {})
        (found,) = numbers.differences(pair(arms), [(0, 1)], numbers.Settings())
        claims += found.is_detected
    assert claims <= 9


def test_the_parts_of_a_score_multiply_and_add_up(passed, tmp_path):
    paths = []
    for place, letter in enumerate("ab"):
        (tmp_path / letter).mkdir()
        paths.append(WRITERS["inspect json"][0](tmp_path / letter, passed[place]))
    paired = pair([*read_arms({"a": [paths[0]]}, {}), *read_arms({"b": [paths[1]]}, {})])
    for each, arm in zip(parts.finishing(paired, numbers.Settings()), paired.arms, strict=True):
        whole = each.finished * each.passed_finished + each.passed_unfinished
        assert whole == pytest.approx(arm.score_SP.sum() / arm.count_SP.sum())


def test_flips_are_the_problems_that_change_sides(passed, both):
    (found,) = numbers.differences(both, [(0, 1)], numbers.Settings())
    rate_AP = passed.mean(axis=2)
    gained = {str(p) for p in np.flatnonzero((rate_AP[1] > 0.5) & (rate_AP[0] <= 0.5))}
    assert set(found.gained) == gained


def test_crossing_curves_cross_where_their_straight_lines_do(tmp_path):
    """a passes half of all samples of every problem; b all samples of two thirds of the problems."""
    first = [{"problem": p, "sample": n, "passed": n % 2 == 0} for p in range(30) for n in range(4)]
    second = [{"problem": p, "sample": n, "passed": p < 20} for p in range(30) for n in range(4)]
    arms = [*read_arms({"a": [lines(tmp_path / "a.jsonl", first)]}, {}),
            *read_arms({"b": [lines(tmp_path / "b.jsonl", second)]}, {})]  # fmt: skip
    (crossing,) = numbers.crossings(pair(arms))
    assert crossing.ahead_below == "b"
    at_2 = 1 - 1 / 6  # of six pairs one has no pass
    assert crossing.k == pytest.approx(1 + (2 / 3 - 0.5) / (at_2 - 0.5))
