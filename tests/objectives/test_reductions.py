"""Objectives that become one another, and toggles that change what they should and nothing else."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ablate.objectives.laws.step import loss_and_gradient, step_batch
from ablate.objectives.laws.synthetic import Shape, random_rollouts

SEEDS = st.integers(0, 10**6)
quick = settings(max_examples=25, deadline=None, derandomize=True)


def rollouts(seed, scale=0.3, **changes):
    return random_rollouts(Shape(seed, num_groups=3, group_size=5, max_length=7, log_ratio_scale=scale, **changes))


def gradient(objective, rollouts):
    return loss_and_gradient(objective, rollouts.logp_BT, step_batch(objective, rollouts))


def assert_same(first, second):
    torch.testing.assert_close(first[0], second[0], rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(first[1], second[1], rtol=1e-12, atol=1e-14)


@quick
@given(seed=SEEDS)
def test_dapo_with_equal_clips_sequence_weight_and_every_group_is_grpo(objective, seed):
    dapo = objective("dapo", clip_high=0.2, keep="all", weight="sequence_mean")
    assert_same(gradient(dapo, rollouts(seed)), gradient(objective("grpo"), rollouts(seed)))


@quick
@given(seed=SEEDS)
def test_gspo_plus_is_gspo_when_all_lengths_are_equal(objective, seed):
    equal = rollouts(seed, scale=3e-4, equal_lengths=True)
    assert_same(gradient(objective("gspo_plus"), equal), gradient(objective("gspo"), equal))


@quick
@given(seed=SEEDS)
def test_gspo_plus_is_luspo_times_n_over_t_at_equal_clip(objective, seed):
    """Cosine 1 in every update: LUSPO weighs a token 1 / N, GSPO+ 1 / T."""
    some = rollouts(seed, scale=3e-3)
    clip = {"clip_low": 2e-3, "clip_high": 2.5e-3, "overlong": "mask"}
    luspo, plus = objective("luspo", **clip), objective("gspo_plus", **clip)
    batch = step_batch(luspo, some)
    tokens, rows = int(batch.active_BT.sum()), int(batch.in_loss_B.sum())
    loss, slope = gradient(luspo, some)
    scale = rows / max(tokens, 1)
    assert_same((loss * scale, slope * scale), gradient(plus, some))


@quick
@given(seed=SEEDS)
def test_a_dual_clip_beyond_every_ratio_is_grpo(objective, seed):
    assert_same(
        gradient(objective("grpo_dual_clip", dual_clip=1e9), rollouts(seed)),
        gradient(objective("grpo"), rollouts(seed)),
    )


@quick
@given(seed=SEEDS)
def test_masks_that_nothing_reaches_leave_the_unclipped_ratio(objective, seed):
    plain = gradient(objective("grpo", surrogate="unclipped"), rollouts(seed))
    for name in ("dppo_tv", "dppo_kl"):
        assert_same(gradient(objective(name, delta_low=99.0, delta_high=99.0), rollouts(seed)), plain)


@quick
@given(seed=SEEDS)
def test_a_prompt_mean_of_groups_with_equal_tokens_is_a_token_mean(objective, seed):
    equal = rollouts(seed, equal_lengths=True)
    assert_same(
        gradient(objective("dapo_prompt_mean", keep="all"), equal), gradient(objective("dapo", keep="all"), equal)
    )


@quick
@given(seed=SEEDS)
def test_a_selection_of_everything_is_no_selection(objective, seed):
    some = rollouts(seed)
    whole = gradient(objective("dapo"), some)
    assert_same(gradient(objective("dapo_top_entropy", entropy_share=1.0), some), whole)
    assert_same(gradient(objective("dapo", select="second_moment_tokens", max_second_moment=1e9), some), whole)
    assert_same(gradient(objective("dapo", select="off_policy_rows", max_divergence=1e9), some), whole)
    # dynamic sampling and mixed groups agree where nothing is drawn again and the advantage looks at one group
    mixed = gradient(objective("grpo", overlong="train", select="mixed_groups"), some)
    assert_same(mixed, gradient(objective("grpo", overlong="train", keep="mixed_outcomes"), some))


@quick
@given(seed=SEEDS)
def test_gspo_token_with_one_advantage_per_sequence_is_gspo(objective, seed):
    near = rollouts(seed, scale=3e-4)
    assert_same(gradient(objective("gspo_token"), near), gradient(objective("gspo"), near))


@quick
@given(seed=SEEDS)
def test_gspo_is_grpo_with_another_ratio_and_another_clip(objective, seed):
    changed = objective("grpo", clip_low=3e-4, clip_high=4e-4, ratio="sequence")
    near = rollouts(seed, scale=3e-4)
    assert_same(gradient(changed, near), gradient(objective("gspo"), near))


@quick
@given(seed=SEEDS)
def test_cispo_within_its_clip_has_the_gradient_of_the_unclipped_token_ratio(objective, seed):
    wide = {"clip_low": 1.0, "clip_high": 1e6}
    token = objective("dapo", **wide, overlong="train")
    cispo = objective("cispo", **wide)
    torch.testing.assert_close(
        gradient(token, rollouts(seed))[1], gradient(cispo, rollouts(seed))[1], rtol=1e-12, atol=0
    )


@quick
@given(seed=SEEDS)
def test_leave_one_out_is_the_centred_reward_times_g_over_g_minus_1(objective, seed):
    some = rollouts(seed)
    arguments = some.reward_PG, some.truncated_PG, some.length_PG
    centred, _ = objective("dr_grpo").advantages(*arguments)
    left_out, _ = objective("rloo").advantages(*arguments)
    torch.testing.assert_close(left_out, centred * 5 / 4, rtol=1e-12, atol=1e-12)


@quick
@given(seed=SEEDS)
def test_zero_advantage_keeps_the_rollout_in_n_and_t_and_mask_takes_it_out(objective, seed):
    some = rollouts(seed)
    zeroed, masked = objective("grpo", overlong="zero_advantage"), objective("grpo", overlong="mask")
    batch_zeroed = step_batch(zeroed, some)
    batch_masked = step_batch(masked, some)
    truncated_B = some.truncated_PG.flatten()
    assert batch_zeroed.in_loss_B.all()
    assert torch.equal(batch_masked.in_loss_B, ~truncated_B)
    assert torch.equal(batch_zeroed.advantage_B, batch_masked.advantage_B)  # both in the group's mean and std
    assert (batch_zeroed.weight_BT[truncated_B].sum(dim=1) > 0).all()
    assert (batch_masked.weight_BT[truncated_B] == 0).all()


REWARDS_PG = torch.tensor([[1.0 if sample < passed else -1.0 for sample in range(8)] for passed in range(9)]).double()


def advantages(built):
    return built.advantages(REWARDS_PG, torch.zeros_like(REWARDS_PG).bool(), torch.ones_like(REWARDS_PG))[0]


@pytest.mark.parametrize("eps", [0.0, 1e-6, 0.1])
def test_rewards_of_one_and_zero_are_those_of_plus_and_minus_one_with_twice_the_eps(objective, eps):
    """To the bit, for all outcomes of a group of 8; so without an eps the choice changes nothing at all."""
    ours = advantages(objective("grpo_plus", eps=2 * eps))
    assert torch.equal(advantages(objective("grpo_plus", shape="one_or_zero", eps=eps)), ours)


def test_rewards_of_one_and_zero_shrink_an_advantage_by_less_than_eps_over_std(objective):
    usual, halved = advantages(objective("grpo_plus")), advantages(objective("grpo_plus", shape="one_or_zero"))
    std_P1 = REWARDS_PG.std(dim=1, keepdim=True)
    mixed = (std_P1 > 0)[:, 0]
    shrunk = (1 - halved / usual)[mixed]
    assert (shrunk > 0).all()
    assert (shrunk < 1e-6 / std_P1[mixed]).all()
    assert torch.equal(halved[~mixed], usual[~mixed])


@pytest.mark.parametrize("name", ["dr_grpo", "rloo"])
def test_rewards_of_one_and_zero_halve_an_advantage_that_no_std_divides(objective, name):
    halved = advantages(objective(name, shape="one_or_zero"))
    torch.testing.assert_close(2 * halved, advantages(objective(name)), rtol=1e-15, atol=0)


@pytest.mark.parametrize("slot", ["ratio", "weight", "surrogate", "advantage", "shape", "keep", "overlong", "select"])
def test_an_overridden_slot_changes_that_slot_only(objective, slot):
    names = {
        "ratio": "sequence",
        "weight": "token_mean",
        "surrogate": "clipped_weight",
        "advantage": "group_normalised_population",
        "shape": "soft_overlong_penalty",
        "keep": "mixed_outcomes",
        "overlong": "mask",
        "select": "mixed_groups",
    }
    needed = {"max_length": 9, "buffer": 3} if slot == "shape" else {}
    before = objective("grpo")
    after = objective("grpo", **{slot: names[slot]}, **needed)
    assert after.part_names[slot] == names[slot]
    assert {**after.part_names, slot: None} == {**before.part_names, slot: None}
