"""Rows, updates and micro-batches: nothing is lost, nothing counts twice."""

from __future__ import annotations

import itertools
from dataclasses import replace

import cases
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ablate.errors import UserError
from ablate.objectives.batch import update_batch
from ablate.objectives.metrics import step_metrics
from ablate.trainer.batching import cut, make_batch, plan_micro_batches, row_lengths, rows_of_updates
from ablate.types import Completion, Problem, RolloutGroup, Verdict, VerdictKind


def test_position_t_describes_the_prediction_of_token_t_plus_1():
    verdict = Verdict(VerdictKind.accepted, 1, 1, None, 0.0, 0.0, 0.0)
    completions = (
        Completion("p", 0, 0, (5, 6), (7, 2), (-1.0, -2.0), "", finished=True),
        Completion("p", 1, 0, (5, 6), (8, 9, 2), (-3.0, -4.0, -5.0), "", finished=True),
    )
    batch = make_batch(
        [RolloutGroup(Problem("p", "", (), "easy"), completions, (verdict, verdict))], cases.objective_named("grpo")
    )
    assert batch.tokens_BS.tolist() == [[5, 6, 7, 2, 0], [5, 6, 8, 9, 2]]
    assert batch.mask_BT.tolist() == [[False, True, True, False], [False, True, True, True]]
    assert batch.rollout_logp_BT.tolist() == [[0, -1, -2, 0], [0, -3, -4, -5]]
    assert row_lengths(batch) == [4, 5]


def test_rows_stand_in_the_order_of_groups_and_samples():
    groups = cases.rollout_groups()
    batch = make_batch(groups, cases.objective_named("grpo"))
    completions = [completion for group in groups for completion in group.completions]
    for row, completion in enumerate(completions):
        assert tuple(batch.tokens_BS[row, 1:][batch.mask_BT[row]].tolist()) == completion.response_ids


@pytest.mark.parametrize("name", cases.OBJECTIVES)
@pytest.mark.parametrize("num_updates", [1, 2, 3, 5])
def test_weights_of_every_update_sum_to_1(name, num_updates):
    objective = cases.objective_named(name, overlong="train")
    batch = make_batch(cases.rollout_groups(), objective)
    for rows in rows_of_updates(batch.num_rows, num_updates, seed=3):
        assert update_batch(batch, rows, objective).weight_BT.sum().item() == pytest.approx(1, abs=1e-6)


def test_a_masked_row_has_no_weight_in_any_update():
    objective = cases.objective_named("gspo_plus", overlong="mask")
    batch = make_batch(cases.rollout_groups(), objective)
    assert batch.in_loss_B.tolist() == [True, True, True, False] * 3
    for rows in rows_of_updates(batch.num_rows, 2, seed=0):
        update = update_batch(batch, rows, objective)
        assert torch.equal((update.weight_BT != 0).any(dim=1), batch.in_loss_B[rows])


@pytest.mark.parametrize("name", cases.OBJECTIVES)
def test_one_update_of_all_rows_is_the_batch_as_built(name):
    objective = cases.objective_named(name)
    batch = make_batch(cases.rollout_groups(), objective)
    update = update_batch(batch, torch.arange(batch.num_rows), objective)
    assert all(
        torch.equal(a, b) for a, b in zip(vars(update).values(), vars(batch).values(), strict=True) if b is not None
    )


def test_a_row_in_the_loss_counts_in_n_even_where_its_weight_is_0():
    """A user's weight part may leave rows at 0. N counts them in the batch, in an update and in the metrics alike."""

    def three_of_four(mask_BT, in_loss_B):
        weight_BT = mask_BT / (in_loss_B.sum() * mask_BT.sum(dim=1, keepdim=True).clamp(min=1)).double()
        return weight_BT * (torch.arange(len(weight_BT)) % 4 != 3)[:, None]

    grpo = cases.objective_named("grpo", overlong="train")
    objective = replace(grpo, slots=replace(grpo.slots, weight=three_of_four))
    batch = make_batch(cases.rollout_groups(), objective)
    update = update_batch(batch, torch.arange(batch.num_rows), objective)
    assert batch.weight_BT.sum().item() == pytest.approx(0.75, abs=1e-6)
    assert update.weight_BT.sum().item() == pytest.approx(0.75, abs=1e-6)
    assert step_metrics(objective, update.old_logp_BT, update)["policy/rows_in_loss"] == batch.num_rows


@given(st.integers(1, 40), st.integers(1, 5), st.integers(0, 2**31 - 1))
def test_updates_share_out_all_rows_once_and_equally(num_rows, num_updates, seed):
    parts = rows_of_updates(num_rows, num_updates, seed)
    assert sorted(torch.cat(parts).tolist()) == list(range(num_rows))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert all(torch.equal(a, b) for a, b in zip(parts, rows_of_updates(num_rows, num_updates, seed), strict=True))


LENGTHS = st.lists(st.integers(2, 60), min_size=1, max_size=40)


MULTIPLES = st.sampled_from([(1, 1), (1, 2), (1, 4), (4, 4), (4, 8)])  # of a row, of what the model sees


@given(LENGTHS, st.integers(64, 300), st.integers(1, 5), MULTIPLES, st.booleans())
def test_a_plan_holds_every_row_once_within_the_budget_and_equal_counts(lengths, budget, num_ranks, multiples, packing):
    row_multiple, multiple = multiples
    plan = plan_micro_batches(
        lengths, budget, num_ranks=num_ranks, row_multiple=row_multiple, multiple_of=multiple, packing=packing
    )
    assert len(plan) == num_ranks
    assert len({len(share) for share in plan}) == 1
    micro_batches = [micro_batch for share in plan for micro_batch in share]
    real = [row for micro_batch in micro_batches if not micro_batch.is_filler for row in micro_batch.rows]
    assert sorted(real) == list(range(len(lengths)))
    for micro_batch in micro_batches:
        inside = [-(-lengths[row] // row_multiple) * row_multiple for row in micro_batch.rows]
        assert micro_batch.size <= budget
        assert micro_batch.size % multiple == micro_batch.num_tokens % multiple == 0
        assert micro_batch.num_tokens >= max(inside)
        assert micro_batch.size >= (sum(inside) if packing else micro_batch.num_tokens * len(inside))


@given(LENGTHS, st.integers(64, 300))
def test_padded_rows_go_with_rows_of_similar_length(lengths, budget):
    """Longest first: no row of a micro-batch is shorter than a row of a later one is long."""
    (plan,) = plan_micro_batches(lengths, budget, num_ranks=1, row_multiple=1, multiple_of=1, packing=False)
    spans = sorted((min(lengths[r] for r in m.rows), max(lengths[r] for r in m.rows)) for m in plan)
    assert all(low_end <= high_start for (_, low_end), (high_start, _) in itertools.pairwise(spans))


@given(LENGTHS, st.integers(64, 300))
def test_packing_leaves_at_most_one_micro_batch_half_empty(lengths, budget):
    (plan,) = plan_micro_batches(lengths, budget, num_ranks=1, row_multiple=1, multiple_of=1, packing=True)
    assert sum(micro_batch.size * 2 <= budget for micro_batch in plan) <= 1


@given(LENGTHS, st.integers(2, 4), st.booleans())
def test_filler_only_where_rows_run_out(lengths, num_ranks, packing):
    plan = plan_micro_batches(lengths, 10_000, num_ranks=num_ranks, row_multiple=1, multiple_of=1, packing=packing)
    num_filler = sum(micro_batch.is_filler for share in plan for micro_batch in share)
    assert num_filler == max(0, num_ranks - len(lengths))


@pytest.mark.parametrize("packing", [False, True])
def test_a_row_beyond_the_budget_is_refused(packing):
    with pytest.raises(UserError, match=r"a row of 90 tokens does not fit parallel\.max_tokens_per_micro_batch=64"):
        plan_micro_batches([10, 90], 64, num_ranks=1, row_multiple=1, multiple_of=1, packing=packing)


def test_cutting_keeps_every_response_token_and_filler_weighs_nothing():
    batch = make_batch(cases.rollout_groups(), cases.objective_named("dapo"))
    plan = plan_micro_batches(row_lengths(batch), 200, num_ranks=5, row_multiple=1, multiple_of=4, packing=False)
    parts = [(m, cut(batch, m)) for share in plan for m in share]
    real = [part for micro_batch, part in parts if not micro_batch.is_filler]
    filler = [part for micro_batch, part in parts if micro_batch.is_filler]
    assert sum(int(part.mask_BT.sum()) for part in real) == int(batch.mask_BT.sum())
    assert sum(part.weight_BT.sum().item() for part in real) == pytest.approx(1, abs=1e-6)
    assert all(part.weight_BT.abs().sum() == 0 and part.mask_BT.any() for part in filler)
