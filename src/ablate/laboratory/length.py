"""Which way an objective pushes the response length: its gradient next to that of the expected length.

With R_i tokens in response i of B, all sampled from the present policy, the score-function estimate is

    d E[R] / d theta = 1/B sum_i (R_i - R_others) d log pi(o_i) / d theta

where R_others, the mean of the other rows, takes noise away and adds no bias (Williams 1992, section 4). A truncated
response counts with the tokens that it has.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from ablate.objectives import build
from ablate.types import TrainBatch

# Its loss is minus the expected length; ``length_batch`` gives the advantages and weights.
EXPECTED_LENGTH = build(
    {
        "name": "expected_length",
        "keep": "all",
        "shape": "verdict",
        "overlong": "train",
        "advantage": "one",
        "ratio": "unit",
        "surrogate": "log_likelihood",
        "weight": "token_mean",
    }
)


def length_batch(batch: TrainBatch) -> TrainBatch:
    """The rows with R_i - R_others as the advantage of row i, and every response token weighed 1/B."""
    length_B = batch.mask_BT.sum(dim=1).to(batch.advantage_B.dtype)
    others_B = (length_B.sum() - length_B) / max(batch.num_rows - 1, 1)
    return replace(
        batch,
        advantage_B=length_B - others_B,
        in_loss_B=torch.ones_like(batch.in_loss_B),
        weight_BT=batch.mask_BT.to(batch.weight_BT.dtype) / batch.num_rows,
    )
