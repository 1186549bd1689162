"""The updates of one rollout batch, with as few passes of the model as give the same gradients.

Shape suffixes: B rows, T predictions of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ablate.objectives.base import Objective
from ablate.objectives.batch import select_rows, update_batch
from ablate.objectives.metrics import row_metrics
from ablate.trainer.trainer import Trainer
from ablate.types import TrainBatch

NO_GRADIENT = "gradient_vanishes_without_advantage"  # a law of the objective, unless a part waives it


def rows_that_train(batch: TrainBatch, rows: Tensor, objective: Objective) -> Tensor:
    """The rows of an update that can have a gradient: those with an advantage, if the objective needs one.

    Where no row has one, the row with the fewest tokens stays: an update without a gradient still moves the weights, by
    Adam's momentum and by weight decay.
    """
    if NO_GRADIENT in objective.waived_laws:
        return rows
    found = rows[batch.advantage_B[rows] != 0]
    if len(found):
        return found
    in_loss = rows[batch.in_loss_B[rows]]
    candidates = in_loss if len(in_loss) else rows
    return candidates[batch.mask_BT[candidates].sum(dim=1).argmin()][None]


def training_part(batch: TrainBatch, rows: Tensor, objective: Objective) -> TrainBatch:
    """The rows of an update that can have a gradient, with their weights among all rows of the update."""
    whole = update_batch(batch, rows, objective)
    return select_rows(whole, torch.isin(rows, rows_that_train(batch, rows, objective)).nonzero()[:, 0])


def rows_without_own_pass(
    batch: TrainBatch, rows_of_updates: Sequence[Tensor], objective: Objective, *, for_records: bool
) -> Tensor:
    """Rows whose old log-probabilities need a forward pass before the first update.

    The first update's own forward pass gives those of the rows that it trains on. Rows without a gradient need theirs
    for records only.
    """
    first, *others = [rows_that_train(batch, rows, objective) for rows in rows_of_updates]
    needed = torch.zeros(batch.num_rows, dtype=torch.bool)
    needed[:] = for_records
    for rows in others:
        needed[rows] = True
    needed[first] = False
    return needed.nonzero()[:, 0]


def with_old_logp(trainer: Trainer, batch: TrainBatch, rows: Tensor) -> TrainBatch:
    """The batch with the log-probabilities that the trainer's weights give to some rows."""
    if not len(rows):
        return batch
    old_logp_BT = batch.old_logp_BT.clone()
    old_logp_BT[rows] = trainer.logp(select_rows(batch, rows))[0]
    return replace(batch, old_logp_BT=old_logp_BT)


def train_on(
    trainer: Trainer,
    batch: TrainBatch,
    rows_of_updates: Sequence[Tensor],
    objective: Objective,
    *,
    is_on_policy: bool,
) -> tuple[list[dict[str, float]], TrainBatch]:
    """Take the updates of a batch, each with its own N, T and weights over all of its rows.

    Args:
        is_on_policy: whether the weights are those that ``old_logp_BT`` is of, so that the first update's own forward
            pass gives it; else the batch holds it for all rows.

    Returns:
        The metrics of each update, and the batch with the old log-probabilities that the first update found.
    """
    metrics = []
    for index, rows in enumerate(rows_of_updates):
        part = training_part(batch, rows, objective)
        if is_on_policy and index == 0:
            of_update, own_BT = trainer.first_update(part, objective)
            old_logp_BT = batch.old_logp_BT.clone()
            old_logp_BT[rows_that_train(batch, rows, objective)] = own_BT
            batch = replace(batch, old_logp_BT=old_logp_BT)
        else:
            of_update = trainer.update(part, objective)
        metrics.append(of_update | row_metrics(update_batch(batch, rows, objective)))
    return metrics, batch
