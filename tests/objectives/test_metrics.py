"""The diagnostics of an update, on batches small enough to count by hand."""

import math

import pytest
import torch

from ablate.objectives.metrics import step_metrics
from ablate.types import TrainBatch


def batch_of(rows, advantages, objective, in_loss=None):
    """``rows`` of log-ratios in nats; old log-probabilities are -1 each."""
    width = max(map(len, rows))
    mask = torch.tensor([[position < len(row) for position in range(width)] for row in rows])
    shift = torch.tensor([row + [0.0] * (width - len(row)) for row in rows], dtype=torch.float64)
    old = torch.where(mask, -1.0, 0.0).double()
    kept = torch.tensor(in_loss or [True] * len(rows))
    batch = TrainBatch(
        tokens_BS=torch.zeros(len(rows), width + 1, dtype=torch.int64),
        mask_BT=mask,
        old_logp_BT=old,
        rollout_logp_BT=torch.where(mask, -1.25, 0.0).double(),
        advantage_B=torch.tensor(advantages, dtype=torch.float64),
        in_loss_B=kept,
        weight_BT=objective.weights(mask, kept),
    )
    return old + shift, batch


def test_clip_counts_tokens_and_sequences_only_where_it_binds(objective):
    grpo = objective("grpo")
    up, down = math.log(1.5), math.log(0.5)
    rows = [[up, down, 0.0, 0.0], [up, down]]
    metrics = step_metrics(grpo, *batch_of(rows, [1.0, -1.0], grpo))
    # A > 0 binds above only: 1 of 4 tokens of row 1. A < 0 binds below only: 1 of 2 tokens of row 2.
    assert metrics["policy/clip_high"] == pytest.approx(1 / 6)
    assert metrics["policy/clip_low"] == pytest.approx(1 / 6)
    assert metrics["policy/clip_high_sequences"] == pytest.approx(1 / 8)
    assert metrics["policy/clip_low_sequences"] == pytest.approx(1 / 4)
    assert metrics["policy/ratio_max"] == pytest.approx(1.5)
    assert metrics["policy/ratio_min"] == pytest.approx(0.5)


def test_clip_is_live_says_whether_any_ratio_has_left_1(objective):
    grpo = objective("grpo")
    on_policy, batch = batch_of([[0.0, 0.0]], [1.0], grpo)
    assert step_metrics(grpo, on_policy, batch)["policy/clip_is_live"] == 0.0
    assert step_metrics(grpo, on_policy + 1e-3, batch)["policy/clip_is_live"] == 1.0


def test_rows_out_of_the_loss_are_in_no_metric(objective):
    grpo = objective("grpo")
    metrics = step_metrics(grpo, *batch_of([[0.1], [5.0]], [1.0, 1.0], grpo, in_loss=[True, False]))
    assert metrics["policy/rows_in_loss"] == 1
    assert metrics["policy/ratio_max"] == pytest.approx(math.exp(0.1))


def test_kl_and_mismatch_are_mean_k3_and_mean_absolute_gap(objective):
    grpo = objective("grpo")
    metrics = step_metrics(grpo, *batch_of([[0.2, -0.2]], [1.0], grpo))
    assert metrics["policy/kl_old_new"] == pytest.approx(math.cosh(0.2) - 1)
    assert metrics["policy/mismatch_mean_abs"] == pytest.approx(0.25)
    assert metrics["policy/mismatch_abs_max"] == pytest.approx(0.25)


def test_buckets_are_quarters_of_each_response_and_quarters_of_the_rows_by_length(objective):
    grpo = objective("grpo")
    rows = [[0.0] * 4, [0.0], [0.0, 0.0], [1.0] * 8]
    metrics = step_metrics(grpo, *batch_of(rows, [1.0] * 4, grpo))
    assert [metrics[f"policy/clip_length_{quarter}"] for quarter in (1, 2, 3, 4)] == [0.0, 0.0, 0.0, 1.0]
    # The single token of row 2 is in the first quarter; row 3's two tokens are in quarters 1 and 3.
    assert metrics["policy/clip_position_1"] == pytest.approx(2 / 5)
    assert metrics["policy/clip_position_2"] == pytest.approx(2 / 3)
    assert metrics["policy/ratio_deviation_length_4"] == pytest.approx(math.e - 1)


def test_an_objective_without_a_ratio_reports_none(objective):
    sft = objective("sft")
    metrics = step_metrics(sft, *batch_of([[0.5]], [1.0], sft))
    assert not sft.needs_old_logp
    assert set(metrics) == {"policy/rows_in_loss", "policy/advantage_std", "policy/advantage_zero"}


def test_a_step_with_no_row_in_the_loss_is_reported_not_divided_by_0(objective):
    grpo = objective("grpo")
    metrics = step_metrics(grpo, *batch_of([[0.5]], [1.0], grpo, in_loss=[False]))
    assert metrics == {"policy/rows_in_loss": 0.0, "policy/clip_is_live": 0.0}
