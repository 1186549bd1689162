"""Rows without a gradient leave an update, and the first update finds the old policy itself: no gradient changes."""

from __future__ import annotations

from dataclasses import replace

import cases
import pytest
import torch

from ablate import objectives
from ablate.objectives.batch import update_batch
from ablate.trainer.batching import make_batch
from ablate.trainer.updates import (
    rows_that_train,
    rows_without_own_pass,
    train_on,
    training_part,
    with_old_policy,
)

ROWS = torch.arange(12)  # of cases.rollout_groups: the first four are of one outcome
SPLITS = [ROWS[::2], ROWS[1::2]]


@pytest.fixture
def trainer(tiny_checkpoint):
    return cases.open_trainer(tiny_checkpoint, cases.SINGLE)


def kl_objective():
    knobs = {"overlong": "train", "clip_low": 0.2, "clip_high": 0.2, "kl": "k3", "kl_coef": 0.1}
    return objectives.build(cases.GRPO | {"name": "kl"} | knobs)


@pytest.mark.parametrize("name", cases.OBJECTIVES)
def test_the_gradient_is_that_of_all_rows_and_a_pass_for_the_old_policy(name, trainer):
    objective = cases.objective_named(name)
    batch = make_batch(cases.rollout_groups(), objective)
    whole = update_batch(replace(batch, old_logp_BT=trainer.logp(batch)[0]), ROWS, objective)
    part = training_part(batch, ROWS, objective)
    assert part.num_rows < whole.num_rows
    expected = trainer.gradient(whole, objective).double()
    found = trainer.gradient(part, objective, is_on_policy=True).double()
    assert (found - expected).norm() / expected.norm() < 1e-6


def test_a_penalty_that_pulls_on_every_row_keeps_every_row():
    objective = kl_objective()
    assert len(rows_that_train(make_batch(cases.rollout_groups(), objective), ROWS, objective)) == 12


@pytest.mark.parametrize("part", ["top_entropy_tokens", "off_policy_rows", "mixed_groups"])
def test_a_selecting_objective_trains_on_what_is_left_and_finds_the_old_policy_first(part, trainer):
    objective = cases.selecting(part)
    batch = make_batch(cases.rollout_groups(), objective)
    logp_BT, entropy_BT = trainer.logp(batch)
    rows = rows_without_own_pass(batch, [ROWS], objective, for_records=False)
    by_old_policy = part != "mixed_groups"
    assert rows.tolist() == (batch.in_loss_B.nonzero()[:, 0].tolist() if by_old_policy else [])
    batch = with_old_policy(trainer, batch, rows, objective)
    if part == "top_entropy_tokens":  # of rows without an advantage too: they enter the quantile
        torch.testing.assert_close(batch.entropy_BT[rows], entropy_BT[rows], atol=1e-5, rtol=0)
    else:
        assert batch.entropy_BT is None
    whole = cases.selected(objective, logp_BT, entropy_BT)
    kept_BT = batch.old_logp_BT.clone()
    (metrics,), after = train_on(trainer, batch, [ROWS], objective, is_on_policy=True)
    assert metrics["policy/rows_in_loss"] == int(whole.in_loss_B.sum()) < 12
    assert metrics["policy/selected_rows"] == pytest.approx((whole.in_loss_B.sum() / batch.in_loss_B.sum()).item())
    assert metrics["policy/selected_tokens"] == pytest.approx((whole.active_BT.sum() / batch.active_BT.sum()).item())
    assert metrics["policy/ratio_max"] == metrics["policy/ratio_min"] == 1
    assert after.old_logp_BT.equal(kept_BT) == by_old_policy, "records hold what the selection saw"


def test_the_gradient_of_a_selecting_objective_is_that_of_all_rows(trainer):
    objective = cases.selecting("top_entropy_tokens")
    batch = make_batch(cases.rollout_groups(), objective)
    batch = with_old_policy(trainer, batch, ROWS, objective)
    part = training_part(batch, ROWS, objective)
    expected = trainer.gradient(update_batch(batch, ROWS, objective), objective).double()
    assert part.num_rows < 12
    assert (trainer.gradient(part, objective).double() - expected).norm() / expected.norm() < 1e-5


def test_an_update_without_any_advantage_still_takes_its_step_with_one_row():
    objective = cases.objective_named("grpo", overlong="train")
    batch = make_batch(cases.rollout_groups(num_groups=1), objective)
    rows = rows_that_train(batch, torch.arange(4), objective)
    assert len(rows) == 1
    assert batch.mask_BT[rows].sum() == batch.mask_BT.sum(dim=1).min()


@pytest.mark.parametrize("for_records", [False, True])
def test_every_row_that_needs_an_old_policy_gets_it_from_one_pass(for_records, trainer):
    objective = cases.objective_named("grpo")
    batch = make_batch(cases.rollout_groups(), objective)
    expected_BT = trainer.logp(batch)[0]
    rows = rows_without_own_pass(batch, SPLITS, objective, for_records=for_records)
    first = rows_that_train(batch, SPLITS[0], objective)
    assert not set(rows.tolist()) & set(first.tolist())
    batch = with_old_policy(trainer, batch, rows, objective)
    metrics, batch = train_on(trainer, batch, SPLITS, objective, is_on_policy=True)
    trained = torch.cat([rows_that_train(batch, split, objective) for split in SPLITS])
    known = ROWS if for_records else trained
    torch.testing.assert_close(batch.old_logp_BT[known], expected_BT[known], atol=1e-5, rtol=0)
    assert len(trained) < len(ROWS)
    assert metrics[0]["policy/ratio_max"] == metrics[0]["policy/ratio_min"] == 1
    assert metrics[0]["policy/clip_is_live"] == 0
    assert metrics[1]["policy/ratio_max"] > 1
    in_loss = [int(batch.in_loss_B[split].sum()) for split in SPLITS]
    assert [each["policy/rows_in_loss"] for each in metrics] == in_loss, "of all rows, with an advantage or without"
