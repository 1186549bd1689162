"""Parts against numbers worked out by hand from their equations."""

import math

import pytest
import torch

from ablate.objectives import parts


def numbers(*values):
    return torch.tensor([values], dtype=torch.float64)


def test_soft_overlong_penalty_falls_linearly_over_the_buffer_to_minus_1():
    length = torch.tensor([[1, 80, 85, 90, 100, 120]])
    truncated = torch.zeros(1, 6, dtype=torch.bool)
    shaped = parts.soft_overlong_penalty(torch.ones(1, 6).double(), truncated, length, max_length=100, buffer=20)
    assert shaped.tolist() == [[1.0, 1.0, 0.75, 0.5, 0.0, 0.0]]


def test_soft_overlong_penalty_is_1_for_a_response_that_the_context_cut_off():
    shaped = parts.soft_overlong_penalty(
        numbers(-1.0), torch.tensor([[True]]), torch.tensor([[10]]), max_length=100, buffer=20
    )
    assert shaped.tolist() == [[-2.0]]


def test_a_group_without_spread_has_advantage_exactly_0_whatever_its_rounding():
    reward = numbers(0.1, 0.1, 0.1)
    assert reward.mean() != 0.1  # the rounding error that 1 / eps would blow up
    for advantage in (parts.group_normalised, parts.group_normalised_population):
        assert advantage(reward, eps=0.0).tolist() == [[0.0, 0.0, 0.0]]
    for advantage in (parts.group_centred, parts.leave_one_out):
        assert advantage(reward).tolist() == [[0.0, 0.0, 0.0]]


def test_std_has_ddof_1_unless_the_part_says_population():
    reward = numbers(1.0, -1.0, -1.0, -1.0)
    assert parts.group_normalised(reward, eps=0.0)[0, 0].item() == pytest.approx(1.5)
    assert parts.group_normalised_population(reward, eps=0.0)[0, 0].item() == pytest.approx(math.sqrt(3))


def test_leave_one_out_compares_with_the_mean_of_the_others():
    assert parts.leave_one_out(numbers(1.0, -1.0, 0.0)).tolist() == [[1.5, -1.5, 0.0]]


def test_sequence_ratio_is_the_geometric_mean_over_response_tokens_only():
    log_ratio = torch.tensor([[0.3, -0.1, 0.0], [0.2, 0.0, 0.0]], dtype=torch.float64)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    torch.testing.assert_close(parts.sequence(log_ratio, mask)[:, 0], numbers(0.1, 0.2)[0])


def test_kl_estimators_are_0_at_the_reference_and_k3_is_never_negative():
    logp, ref = numbers(-1.0, -2.0, -0.5), numbers(-1.0, -1.0, -1.5)
    for penalty in (parts.kl_k1, parts.kl_k2, parts.kl_k3):
        assert penalty(logp, ref, kl_coef=1.0)[0, 0] == 0
    assert parts.kl_k1(logp, ref, kl_coef=2.0).tolist() == [[0.0, -2.0, 2.0]]
    assert parts.kl_k2(logp, ref, kl_coef=2.0).tolist() == [[0.0, 1.0, 1.0]]
    assert parts.kl_k3(logp, ref, kl_coef=1.0)[0, 1:].tolist() == pytest.approx([math.e - 2, math.exp(-1)])


def test_truncated_importance_weights_are_capped_from_above_only():
    gap = numbers(math.log(4.0), math.log(0.1))
    mask = torch.ones(1, 2, dtype=torch.bool)
    assert parts.truncated_token(gap, mask, correction_cap=2.0)[0].tolist() == pytest.approx([2.0, 0.1])
    assert parts.truncated_sequence(gap, mask, correction_cap=2.0)[0].tolist() == pytest.approx([0.4, 0.4])
