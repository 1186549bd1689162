"""Which way a gradient pushes the response length."""

from itertools import product

import pytest
import torch

from ablate.cli import objective_config
from ablate.laboratory.length import EXPECTED_LENGTH, length_batch
from ablate.laboratory.measures import cosine
from ablate.objectives import build
from ablate.objectives.batch import build_batch
from ablate.objectives.laws.step import loss_and_gradient

LENGTHS = torch.tensor([[3, 9, 4, 12, 12, 5]])
TRUNCATED = LENGTHS == 12
MASK = torch.arange(12) < LENGTHS.flatten()[:, None]


def batch_of(objective, reward_PG, mask_BT=MASK, length_PG=LENGTHS, truncated_PG=TRUNCATED, logp_BT=None):
    logp_BT = torch.full(mask_BT.shape, -1.0) if logp_BT is None else logp_BT.detach()
    return build_batch(
        objective,
        reward_PG=reward_PG,
        truncated_PG=truncated_PG,
        length_PG=length_PG,
        mask_BT=mask_BT,
        old_logp_BT=logp_BT,
        rollout_logp_BT=logp_BT,
    )


def length_cosine(name: str, reward_PG, *overrides: str) -> float:
    objective = build(objective_config(name, overrides))
    batch = batch_of(objective, reward_PG)
    gradient_BT = loss_and_gradient(objective, batch.old_logp_BT, batch)[1]
    return cosine(gradient_BT, loss_and_gradient(EXPECTED_LENGTH, batch.old_logp_BT, length_batch(batch))[1])


def test_the_mean_over_all_samples_is_the_derivative_of_the_expected_length():
    """A policy that only chooses its length: every pair of samples can be listed with its probability."""
    length_L = torch.tensor([1.0, 2.0, 5.0])
    theta = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64, requires_grad=True)
    p_L = theta.softmax(0)
    [exact] = torch.autograd.grad((p_L * length_L).sum(), theta, retain_graph=True)
    mean = torch.zeros_like(theta)
    for pair in product(range(3), repeat=2):
        mask_BT = torch.arange(5) < length_L[list(pair)][:, None]
        logp_BT = torch.zeros(2, 5, dtype=torch.float64)
        logp_BT[:, 0] = p_L.log()[list(pair)]
        length_PG = length_L[list(pair)][None]
        batch = batch_of(EXPECTED_LENGTH, torch.ones(1, 2), mask_BT, length_PG, length_PG > 9, logp_BT)
        [estimate] = torch.autograd.grad(EXPECTED_LENGTH.loss(logp_BT, length_batch(batch)), theta, retain_graph=True)
        mean += p_L[list(pair)].prod().detach() * -estimate
    torch.testing.assert_close(mean, exact)


@pytest.mark.parametrize("name", ["grpo", "dapo", "gspo", "gspo_plus"])
def test_rewarding_the_long_pushes_towards_length_and_the_opposite_reward_pushes_equally_away(name):
    reward_PG = torch.where(LENGTHS > 6, 1.0, -1.0)
    long = length_cosine(name, reward_PG, "overlong=train")
    assert long > 0.5
    assert length_cosine(name, -reward_PG, "overlong=train") == pytest.approx(-long)


@pytest.mark.parametrize("name", ["grpo", "dapo", "gspo", "gspo_plus"])
def test_training_on_truncated_failures_pushes_against_length_more_than_leaving_them_out(name):
    reward_PG = torch.tensor([[-1.0, 1.0, 1.0, -1.0, -1.0, -1.0]])
    assert length_cosine(name, reward_PG, "overlong=train") < length_cosine(name, reward_PG, "overlong=zero_advantage")
