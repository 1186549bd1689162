"""The slot select: which tokens of an update stay in the loss, and who counts them."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from ablate.errors import UserError
from ablate.objectives import parts
from ablate.objectives.batch import build_batch, select_rows, update_batch
from ablate.objectives.laws.step import loss_and_gradient, rows_of, step_batch
from ablate.objectives.laws.synthetic import Shape, random_rollouts
from ablate.objectives.parts import select

MASK = torch.tensor([[True, True, True], [True, True, False]])
ROLLOUTS = random_rollouts(Shape(1, num_groups=3, group_size=4, max_length=6, log_ratio_scale=0.3))
EVERY_ROW = torch.arange(12)


def rows(*values):
    return torch.tensor(values, dtype=torch.float64)


def column(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


def test_a_group_in_which_no_row_has_an_advantage_leaves_and_is_not_replaced():
    mask = torch.ones(4, 1, dtype=torch.bool)
    group = torch.tensor([8, 3, 8, 3])
    assert select.mixed_groups(mask, column(0, 0, 0, 1), group)[:, 0].tolist() == [False, True, False, True]


def test_a_failing_row_leaves_when_the_engine_found_it_likelier_by_more_than_the_limit():
    gap = rows([-0.3, -0.3, 0.0], [-0.5, -0.1, 0.0])  # means 0.2 and 0.3 of log engine - log old
    kept = partial(select.off_policy_rows, MASK, gap_BT=gap, max_divergence=0.25)
    assert kept(column(-1, -1)).tolist() == [[True, True, True], [False, False, False]]
    assert kept(column(-1, 1)).equal(MASK)
    assert kept(column(-1, 0)).equal(MASK)


@pytest.mark.parametrize(("share", "count"), [(0.2, 1), (0.5, 3), (0.6, 3), (1.0, 5)])
def test_top_entropy_keeps_the_tokens_at_or_above_the_interpolated_quantile(share, count):
    entropy = rows([5.0, 1.0, 4.0], [2.0, 3.0, 99.0])  # the last one is outside the mask
    kept = select.top_entropy_tokens(MASK, entropy, entropy_share=share)
    assert kept.sum() == count
    assert sorted(entropy[kept].tolist(), reverse=True) == [5.0, 4.0, 3.0, 2.0, 1.0][:count]


def test_a_quantile_at_a_token_keeps_that_token_whatever_the_share_rounds_to():
    entropy = torch.arange(11, dtype=torch.float64)[None]
    mask = torch.ones(1, 11, dtype=torch.bool)
    for kept in range(1, 12):
        share = 1 - (11 - kept) / 10 if kept > 1 else 1e-12
        assert select.top_entropy_tokens(mask, entropy, entropy_share=share).sum() == kept


def test_the_largest_gaps_leave_until_their_mean_square_is_below_the_limit_and_one_token_stays():
    gap = rows([0.1, -1.0, 0.2], [0.3, -0.4, 50.0])  # squares 0.01 1 0.04 0.09 0.16
    kept = partial(select.second_moment_tokens, MASK, gap)
    assert kept(max_second_moment=1.0).equal(MASK)
    assert kept(max_second_moment=0.076).tolist() == [[True, False, True], [True, True, False]]
    assert kept(max_second_moment=0.075).tolist() == [[True, False, True], [True, False, False]]
    assert kept(max_second_moment=0.0).tolist() == [[True, False, False], [False, False, False]]


def test_covariance_draws_its_share_from_the_seed_and_takes_all_candidates_if_they_are_fewer():
    mask = torch.ones(4, 25, dtype=torch.bool)
    logp = torch.linspace(-2, 0, 25, dtype=torch.float64).expand(4, 25)
    drawn = partial(select.covariance_tokens, mask, column(1, -1, 1, -1), logp, cov_low=0.5, cov_high=5.0)
    first, again, other = (drawn(seed, cov_share=0.1) for seed in (1, 1, 2))
    assert (~first).sum() == 10
    assert first.equal(again)
    assert not first.equal(other)
    assert first[1:2, 13:].all(), "A < 0 with a large log-probability has a negative covariance"
    everything = drawn(1, cov_share=1.0)
    assert everything.equal(drawn(2, cov_share=1.0))
    assert not (~first & everything).any()
    assert (~drawn(1, cov_share=1e-9)).sum() == 1, "at least one token"


@pytest.mark.parametrize("name", [name for name in parts.PARTS["select"] if name != "all"])
def test_n_and_t_count_what_is_left_and_the_ratio_sees_the_whole_response(objective, name):
    knobs = {"max_divergence": 0.0, "entropy_share": 0.4, "max_second_moment": 0.1}
    knobs |= {"cov_share": 0.3, "cov_low": 0.0, "cov_high": 9.0}
    chosen = objective("gspo_plus", select=name, **knobs)
    batch = step_batch(chosen, ROLLOUTS)
    left = batch.selected_BT
    assert 0 < left.sum() < ROLLOUTS.mask_BT.sum()
    assert batch.in_loss_B.equal(left.any(dim=1))
    assert batch.weight_BT[left].tolist() == pytest.approx([1 / left.sum().item()] * int(left.sum()))
    whole = step_batch(objective("gspo_plus"), ROLLOUTS)
    assert batch.advantage_B.equal(whole.advantage_B)
    assert chosen.log_ratio(ROLLOUTS.logp_BT, batch).equal(chosen.log_ratio(ROLLOUTS.logp_BT, whole))
    gradient = loss_and_gradient(chosen, ROLLOUTS.logp_BT, batch)[1]
    assert (gradient[~batch.in_loss_B] == 0).all()


def test_an_update_is_selected_by_its_own_rows_in_the_order_of_their_draws(objective):
    """Twelve rows in two updates: each has its own quantile and draw, whatever the order its rows arrive in."""
    for name in ("top_entropy_tokens", "covariance_tokens", "second_moment_tokens"):
        chosen = objective(
            "grpo", select=name, entropy_share=0.3, max_second_moment=0.05, cov_share=0.1, cov_low=-9, cov_high=9
        )
        batch = rows_of(chosen, ROLLOUTS)
        half = torch.tensor([0, 3, 4, 7, 8, 11])
        alone = update_batch(select_rows(batch, half), torch.arange(6), chosen, seed=5)
        shuffled = torch.tensor([4, 11, 0, 8, 3, 7])
        found = update_batch(batch, shuffled, chosen, seed=5)
        assert found.selected_BT[shuffled.argsort()].equal(alone.selected_BT)
        assert found.weight_BT[shuffled.argsort()].equal(alone.weight_BT)
        assert 0 < alone.selected_BT.sum() < batch.mask_BT[half].sum()


def test_nothing_selected_is_an_update_without_a_loss(objective):
    def nothing(mask_BT):
        return torch.zeros_like(mask_BT)

    scale = objective("grpo")
    chosen = replace(scale, slots=replace(scale.slots, select=partial(nothing)))
    batch = step_batch(chosen, ROLLOUTS)
    assert not batch.in_loss_B.any()
    loss, gradient = loss_and_gradient(chosen, ROLLOUTS.logp_BT, batch)
    assert loss == 0
    assert (gradient == 0).all()


def test_rows_that_are_all_masked_select_nothing(objective):
    every = replace(ROLLOUTS, truncated_PG=torch.ones_like(ROLLOUTS.truncated_PG))
    for name in parts.PARTS["select"]:
        knobs = {"max_divergence": 0.0, "entropy_share": 0.4, "max_second_moment": 0.1}
        knobs |= {"cov_share": 0.3, "cov_low": 0.0, "cov_high": 9.0}
        batch = step_batch(objective("grpo", overlong="mask", select=name, **knobs), every)
        assert not batch.in_loss_B.any()
        assert (batch.weight_BT == 0).all()


def test_entropies_are_asked_for_only_by_a_part_that_reads_them(objective):
    assert objective("dapo_top_entropy").needs_entropy
    assert objective("dapo_top_entropy").selects_by_old_policy
    assert objective("m2po").selects_by_old_policy
    assert not objective("m2po").needs_entropy
    assert not objective("scalerl").selects_by_old_policy
    assert not objective("grpo").selects
    with pytest.raises(UserError, match="select=top_entropy_tokens needs the old policy's entropy: add it"):
        step_batch(objective("dapo_top_entropy", keep="all"), replace(ROLLOUTS, entropy_BT=None))


def test_a_batch_holds_every_row_until_an_update_selects(objective):
    chosen = objective("dapo_top_entropy", keep="all", overlong="train")
    given = {name: getattr(ROLLOUTS, name) for name in ("reward_PG", "truncated_PG", "length_PG", "mask_BT")}
    batch = build_batch(chosen, **given, old_logp_BT=ROLLOUTS.old_logp_BT, rollout_logp_BT=ROLLOUTS.rollout_logp_BT)
    assert batch.selected_BT is None
    assert batch.in_loss_B.all()
