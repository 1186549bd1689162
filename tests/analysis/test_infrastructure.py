"""Infrastructure errors that depend on the program are told from those that do not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ablate_analysis.infrastructure import infrastructure_sentences, recurrences

NUM_PROBLEMS, NUM_EVALUATIONS = 100, 12
NO_METRICS = pd.DataFrame({"name": [], "value": []})


def scores_of(lost: list[set[int]]) -> pd.DataFrame:
    """Evaluations of one run with two samples per problem; every problem in ``lost`` has no verdict there."""
    rows = [
        {
            "run": "grpo/seed0",
            "step": step,
            "context": 160,
            "problem_id": f"p{problem:03}",
            "verdict": "infrastructure_error" if problem in problems else "accepted",
        }
        for step, problems in enumerate(lost)
        for problem in range(NUM_PROBLEMS)
        for _ in range(2)
    ]
    return pd.DataFrame(rows)


def test_problems_that_fail_in_every_evaluation_are_named():
    sentences = infrastructure_sentences(scores_of([{7, 30, 31} for _ in range(NUM_EVALUATIONS)]), NO_METRICS)
    assert sentences[0].startswith("72 evaluation samples of 3 problems have no verdict")
    assert "depend on the program: problems p007, p030, p031 have no verdict in several evaluations" in sentences[1]


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
def test_errors_that_hit_random_problems_are_not_blamed_on_the_programs(rate):
    rng = np.random.default_rng(0)
    lost = [set(np.flatnonzero(rng.random(NUM_PROBLEMS) < rate)) for _ in range(NUM_EVALUATIONS)]
    assert len(infrastructure_sentences(scores_of(lost), NO_METRICS)) == 1


def test_a_burst_of_errors_is_not_blamed_on_the_programs():
    starts = np.random.default_rng(0).integers(0, NUM_PROBLEMS, NUM_EVALUATIONS)
    lost = [set((np.arange(20) + start) % NUM_PROBLEMS) for start in starts]
    assert len(infrastructure_sentences(scores_of(lost), NO_METRICS)) == 1


def test_one_evaluation_cannot_tell():
    assert len(infrastructure_sentences(scores_of([{1, 2, 3}, set(), set()]), NO_METRICS)) == 1


def test_dropped_training_groups_are_counted_and_silence_means_none():
    metrics = pd.DataFrame({"name": ["rollout/num_groups_failed", "train/loss"], "value": [4.0, 1.0]})
    assert infrastructure_sentences(scores_of([set()]), NO_METRICS) == []
    (sentence,) = infrastructure_sentences(scores_of([set()]), metrics)
    assert sentence.startswith("4 training groups were dropped")


def test_expected_recurrences_are_those_of_random_problems():
    rng = np.random.default_rng(1)
    draws = [[set(rng.choice(50, 5, replace=False)) for _ in range(4)] for _ in range(400)]
    counts = [recurrences(hit, 50) for hit in draws]
    assert {expected for _, expected in counts} == {6 * 25 / 50}
    assert np.mean([observed for observed, _ in counts]) == pytest.approx(3.0, abs=0.3)
