"""Parts against numbers worked out by hand from their equations."""

import math
from functools import partial
from itertools import combinations

import pytest
import torch

from ablate.errors import UserError
from ablate.objectives import parts
from ablate.objectives.base import call
from ablate.objectives.knobs import KNOBS
from ablate.objectives.registry import knobs_of


def numbers(*values):
    return torch.tensor([values], dtype=torch.float64)


def test_soft_overlong_penalty_falls_linearly_over_the_buffer_to_minus_1():
    length = torch.tensor([[1, 80, 85, 90, 100, 120]])
    truncated = torch.zeros(1, 6, dtype=torch.bool)
    shaped = parts.rewards.soft_overlong_penalty(
        torch.ones(1, 6).double(), truncated, length, max_length=100, buffer=20
    )
    assert shaped.tolist() == [[1.0, 1.0, 0.75, 0.5, 0.0, 0.0]]


def test_soft_overlong_penalty_is_1_for_a_response_that_the_context_cut_off():
    shaped = parts.rewards.soft_overlong_penalty(
        numbers(-1.0), torch.tensor([[True]]), torch.tensor([[10]]), max_length=100, buffer=20
    )
    assert shaped.tolist() == [[-2.0]]


def test_a_group_without_spread_has_advantage_exactly_0_whatever_its_rounding():
    reward = numbers(0.1, 0.1, 0.1)
    assert reward.mean() != 0.1  # the rounding error that 1 / eps would blow up
    for advantage in (parts.advantage.group_normalised, parts.advantage.group_normalised_population):
        assert advantage(reward, eps=0.0).tolist() == [[0.0, 0.0, 0.0]]
    for advantage in (parts.advantage.group_centred, parts.advantage.leave_one_out):
        assert advantage(reward).tolist() == [[0.0, 0.0, 0.0]]


def test_std_has_ddof_1_unless_the_part_says_population():
    reward = numbers(1.0, -1.0, -1.0, -1.0)
    assert parts.advantage.group_normalised(reward, eps=0.0)[0, 0].item() == pytest.approx(1.5)
    assert parts.advantage.group_normalised_population(reward, eps=0.0)[0, 0].item() == pytest.approx(math.sqrt(3))


def test_leave_one_out_compares_with_the_mean_of_the_others():
    assert parts.advantage.leave_one_out(numbers(1.0, -1.0, 0.0)).tolist() == [[1.5, -1.5, 0.0]]


def test_sequence_ratio_is_the_geometric_mean_over_response_tokens_only():
    log_ratio = torch.tensor([[0.3, -0.1, 0.0], [0.2, 0.0, 0.0]], dtype=torch.float64)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    torch.testing.assert_close(parts.ratio.sequence(log_ratio, mask)[:, 0], numbers(0.1, 0.2)[0])


def test_kl_estimators_are_0_at_the_reference_and_k3_is_never_negative():
    logp, ref = numbers(-1.0, -2.0, -0.5), numbers(-1.0, -1.0, -1.5)
    for penalty in (parts.terms.kl_k1, parts.terms.kl_k2, parts.terms.kl_k3):
        assert penalty(logp, ref, kl_coef=1.0)[0, 0] == 0
    assert parts.terms.kl_k1(logp, ref, kl_coef=2.0).tolist() == [[0.0, -2.0, 2.0]]
    assert parts.terms.kl_k2(logp, ref, kl_coef=2.0).tolist() == [[0.0, 1.0, 1.0]]
    assert parts.terms.kl_k3(logp, ref, kl_coef=1.0)[0, 1:].tolist() == pytest.approx([math.e - 2, math.exp(-1)])


def test_truncated_importance_weights_are_capped_from_above_only():
    gap = numbers(math.log(4.0), math.log(0.1))
    mask = torch.ones(1, 2, dtype=torch.bool)
    assert parts.terms.truncated_token(gap, mask, correction_cap=2.0)[0].tolist() == pytest.approx([2.0, 0.1])
    assert parts.terms.truncated_sequence(gap, mask, correction_cap=2.0)[0].tolist() == pytest.approx([0.4, 0.4])


def test_a_group_with_one_outcome_has_advantage_0_but_where_the_baseline_is_of_the_batch():
    reward, length = torch.tensor([[1.0] * 3, [1.0, -1.0, -1.0]]).double(), torch.tensor([[2, 3, 1], [4, 5, 6]])
    for name, part in parts.PARTS["advantage"].items():
        if name in ("one", "reward", "batch_normalised", "group_mean_batch_normalised"):
            continue
        knobs = {knob: KNOBS[knob].example for knob in knobs_of(part)}
        shaped = (reward + 1) / 2 if name == "mean_normalised" else reward
        found = call("advantage", partial(part, **knobs), shaped, length)
        assert found[0].tolist() == [0.0, 0.0, 0.0], name
        assert found[1].abs().sum() > 0, name
    found = parts.advantage.batch_normalised(reward, length, eps=0.0)
    assert (found[0] > 0).all()
    # a = R - mean of the group is 0, 0, 0, 4/3, -2/3, -2/3: its mean over 21 tokens is -2/21, and it is subtracted
    a = parts.advantage.group_mean_batch_normalised(reward, length, eps=0.0)
    assert (a * length).sum().item() == pytest.approx(0)
    assert (a**2 * length).sum().item() / 21 == pytest.approx(1)
    assert a[0, 0].item() == pytest.approx((2 / 21) / math.sqrt(12 / 21 - (2 / 21) ** 2))


@pytest.mark.parametrize("name", [name for name in parts.PARTS["advantage"] if name != "one"])
def test_a_batch_of_one_outcome_has_a_finite_advantage(name):
    """Also without an eps, and for groups of one rollout."""
    part = parts.PARTS["advantage"][name]
    for size in (1, 3):
        knobs = {knob: {"eps": 0.0, "pass_k": 1, "keep_count": 1}[knob] for knob in knobs_of(part)}
        reward, length = torch.ones(2, size).double(), torch.ones(2, size, dtype=torch.int64)
        found = call("advantage", partial(part, **knobs), reward, length)
        assert found.abs().max() == (1.0 if name == "reward" else 0.0), name


def test_pass_at_k_is_the_mean_over_all_subsets_of_k_that_hold_the_response():
    """A response's advantage is (mean of the best of its subsets - mean of the best of all) / sigma."""
    reward = [1.0, -1.0, -1.0, 1.0, -1.0, -1.0]
    subsets = list(combinations(range(6), 3))
    best = [max(reward[i] > 0 for i in subset) for subset in subsets]
    mean = sum(best) / len(best)
    expected = []
    for row in range(6):
        own = [b for b, subset in zip(best, subsets, strict=True) if row in subset]
        expected.append((sum(own) / len(own) - mean) / math.sqrt(mean * (1 - mean)))
    assert parts.advantage.pass_at_k(numbers(*reward), pass_k=3, eps=0.0)[0].tolist() == pytest.approx(expected)


def test_pass_at_1_and_the_shortest_of_a_whole_group_are_the_population_normalised_advantage():
    reward, length = numbers(1.0, -1.0, -1.0, 1.0, -1.0), torch.tensor([[5, 4, 3, 2, 1]])
    expected = parts.advantage.group_normalised_population(reward, eps=0.0)
    torch.testing.assert_close(parts.advantage.pass_at_k(reward, pass_k=1, eps=0.0), expected)
    torch.testing.assert_close(parts.advantage.shortest_of_group(reward, length, keep_count=9, eps=0.0), expected)


def test_the_shortest_of_a_group_are_the_lower_samples_among_equals():
    reward, length = numbers(1.0, -1.0, 1.0, -1.0), torch.tensor([[3, 2, 2, 2]])
    found = parts.advantage.shortest_of_group(reward, length, keep_count=2, eps=0.0)
    assert found.tolist() == [[0.0, -1.0, 1.0, 0.0]]
    found = parts.advantage.most_efficient_of_group((reward + 1) / 2, length, keep_count=2, eps=0.0)
    assert found.tolist() == [[0.0, 0.0, 0.0, 0.0]], "the two passes have no spread"


def test_best_of_group_rewards_the_only_pass_and_nothing_else():
    assert parts.advantage.best_of_group(numbers(-1.0, 1.0, -1.0)).tolist() == [[0.0, 2.0, 0.0]]
    assert parts.advantage.best_of_group(numbers(1.0, 1.0, -1.0)).tolist() == [[0.0, 0.0, 0.0]]


def test_max_rl_divides_by_the_mean_and_refuses_a_negative_reward():
    assert parts.advantage.mean_normalised(numbers(1.0, 0.0, 0.0, 0.0)).tolist() == [[3.0, -1.0, -1.0, -1.0]]
    with pytest.raises(UserError, match=r"not -1: set objective\.shape=one_or_zero"):
        parts.advantage.mean_normalised(numbers(1.0, -1.0))


def test_batch_statistics_run_over_the_groups_that_train(objective):
    """A group without signal that ``keep`` refuses does not move the std of the batch."""
    reward = torch.tensor([[1.0, -1.0, -1.0], [1.0, 1.0, 1.0]]).double()
    arguments = reward, torch.zeros_like(reward).bool(), torch.ones_like(reward).long()
    kept, _ = objective("lite_ppo", keep="mixed_outcomes").advantages(*arguments)
    alone, _ = objective("lite_ppo").advantages(*(each[:1] for each in arguments))
    every, _ = objective("lite_ppo").advantages(*arguments)
    assert kept[:1].equal(alone)
    assert kept[1].tolist() == [0.0, 0.0, 0.0]
    assert not every[:1].equal(alone)


def test_a_prompt_mean_gives_every_prompt_with_a_token_left_the_same_weight():
    mask = torch.tensor([[True, True], [True, False], [True, False], [False, False]])
    weight = parts.weight.prompt_mean(mask, torch.tensor([9, 9, 4, 2]))
    assert weight.tolist() == [[1 / 6, 1 / 6], [1 / 6, 0], [1 / 2, 0], [0, 0]]


def test_a_part_receives_the_arguments_that_it_names_and_a_users_own_names_by_place():
    values = ("ratio", "advantage", "logp", "mask", "log")
    assert call("surrogate", lambda mask_BT, ratio_BT: (mask_BT, ratio_BT), *values) == ("mask", "ratio")
    assert call("surrogate", lambda x, a, l: (x, a, l), *values) == ("ratio", "advantage", "logp")
    assert call("surrogate", lambda x, a, scale=3: (x, a, scale), *values) == ("ratio", "advantage", 3)


def test_a_mask_by_probability_leaves_a_token_out_on_the_side_of_its_advantage_only():
    """p = 0.6 and q = 0.3: the token moved up by 0.3."""
    ratio, logp = numbers(2.0, 2.0, 0.5, 0.5), numbers(0.6, 0.6, 0.3, 0.3).log()
    advantage = numbers(1.0, -1.0, 1.0, -1.0)
    given = ratio, advantage, logp, ratio.log()
    found = parts.surrogate.total_variation_masked(*given, delta_low=0.2, delta_high=0.2)
    assert found.tolist() == [[0.0, -2.0, 0.5, 0.0]]
    kept = parts.surrogate.total_variation_masked(*given, delta_low=0.31, delta_high=0.31)
    assert kept.tolist() == [[2.0, -2.0, 0.5, -0.5]]
    kl = 0.3 * math.log(0.5) + 0.7 * math.log(0.7 / 0.4)
    for delta, first in ((kl - 1e-6, 0.0), (kl + 1e-6, 2.0)):
        found = parts.surrogate.binary_kl_masked(*given, delta_low=9.0, delta_high=delta)
        assert found.tolist() == [[first, -2.0, 0.5, -0.5]]


def test_the_weight_of_vespo_is_1_on_policy_and_0_far_from_it():
    knobs = {"k_positive": 2, "lambda_positive": 3, "k_negative": 3, "lambda_negative": 2}
    ratio = numbers(1.0, math.e**-80, math.e**80, math.e**5)
    found = parts.surrogate.gamma_weight(ratio, torch.ones(1, 1), torch.ones(1, 4).double(), **knobs)
    assert found[0, 0] == 1.0
    assert (found[0, 1:] < 1e-60).all()


def test_a_correction_mask_is_0_outside_its_band_and_leaves_the_ratio_inside():
    gap, mask = numbers(0.1, 1.0, -2.0), torch.ones(1, 3, dtype=torch.bool)
    band = {"correction_low": 0.5, "correction_high": 2.0}
    assert parts.terms.masked_token(gap, mask, **band)[0].tolist() == pytest.approx([math.exp(0.1), 0.0, 0.0])
    assert parts.terms.masked_sequence(gap, mask, **band)[0].tolist() == [0.0, 0.0, 0.0]  # exp(-0.9)
    found = parts.terms.masked_sequence_mean(gap, mask, **band)[0].tolist()  # exp(-0.3) is inside
    assert found == pytest.approx([math.exp(0.1), math.e, math.exp(-2.0)])


def test_a_penalty_on_a_log_ratio_is_not_cut_where_a_ratio_is(objective):
    """exp overflows float32 above 88 nats; a log-ratio of 100 nats still pulls with its whole length."""
    logp = numbers(100.0, 0.0).requires_grad_()
    mask = torch.ones(1, 2, dtype=torch.bool)
    given = numbers(1.0).T, logp, mask, logp
    call("surrogate", objective("kimi").slots.surrogate, None, *given).sum().backward()
    assert logp.grad.tolist() == [pytest.approx([1.0 - 0.1 * 100.0] * 2)]
