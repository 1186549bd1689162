"""The share of groups with both outcomes under data.history, against the run's own rule on simulated problems."""

import random
from dataclasses import replace
from itertools import chain, count
from statistics import harmonic_mean, mean

import pytest

from ablate.cli import compose
from ablate.config import HistoryConfig, parse
from ablate.data.history import noted, resting
from ablate.data.order import ProblemOrder
from ablate.estimate.cells import estimates_of
from ablate.estimate.kept import kept_shares
from ablate.estimate.settings import estimate_settings

_, ASSUMED = estimate_settings(["device=cpu", "assumptions.kept_share=0.4", "assumptions.repeat_share=0.85"])
NUM_PROBLEMS, NUM_STEPS = 1000, 120


def configured(history, *words):
    config = parse(compose(["experiment=tiny", "objective=dapo", f"context.steps={NUM_STEPS}", *words]))
    return replace(config, data=replace(config.data, train="nowhere", history=history))


def simulated_draws(config, assumed):
    """How many problems each step draws, where each remembers its last outcome as the estimate assumes."""
    rng, last, streaks, draws = random.Random(0), {}, {}, []
    one = 1 - assumed.kept_share
    chance = {None: one, True: assumed.repeat_share, False: one * (1 - assumed.repeat_share) / assumed.kept_share}
    order, most = ProblemOrder(NUM_PROBLEMS, 0, shuffle=True), config.rollout.max_draws
    for step in range(1, NUM_STEPS + 1):
        refills = ProblemOrder(NUM_PROBLEMS, step, shuffle=True)
        asleep = resting(streaks, config.data.history, step, NUM_PROBLEMS, most) if config.data.history else set()
        outcomes = []
        for number in chain(order.take(config.rollout.prompts_per_step), (refills.take(1)[0] for _ in count())):
            if number in asleep:
                continue
            last[number] = rng.random() < chance[last.get(number)]
            outcomes.append((number, last[number]))
            if sum(not outcome for _, outcome in outcomes) == config.rollout.prompts_per_step:
                break
        streaks = noted(streaks, step, outcomes)
        draws.append(len(outcomes))
    return draws


@pytest.mark.parametrize("history", [HistoryConfig(1, 40), HistoryConfig(2, 40), HistoryConfig(1, 500)], ids=str)
def test_the_share_is_that_of_simulated_problems(history):
    config, assumed = configured(history), replace(ASSUMED, train_problems=NUM_PROBLEMS)
    shares = kept_shares(config, assumed, drops_groups=True)
    without = mean(simulated_draws(replace(config, data=replace(config.data, history=None)), assumed))
    measured = config.rollout.prompts_per_step / mean(simulated_draws(config, assumed))
    assert harmonic_mean(shares) == pytest.approx(measured, rel=0.06)
    assert config.rollout.prompts_per_step / without == pytest.approx(assumed.kept_share, rel=0.06)
    assert measured > 1.05 * assumed.kept_share, "or the test tests nothing"


def test_without_a_history_the_share_is_the_assumption():
    assert set(kept_shares(configured(None), ASSUMED, drops_groups=True)) == {ASSUMED.kept_share}


def test_problems_that_rest_leave_fewer_draws_to_a_run():
    device, assumptions = estimate_settings(["device=b200"])

    def sampled(*words):
        config = parse(compose(["experiment=nouscoder_14b", "objective=dapo", *words]))
        (estimator,) = estimates_of([config], device, assumptions).values()
        return estimator.stage(0).num_responses

    assert sampled("data.history={groups:1,rest_steps:200}") < sampled()
