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
from ablate.objectives.metrics import row_metrics, selection_metrics
from ablate.seeding import derive_seed
from ablate.trainer.trainer import Trainer
from ablate.types import TrainBatch

NO_GRADIENT = "gradient_vanishes_without_advantage"  # a law of the objective, unless a part waives it


def with_gradient(update: TrainBatch, objective: Objective) -> Tensor:
    """Index of the rows of an update that can have a gradient: those with an advantage, if the objective needs one.

    Where no row has one, the row with the fewest tokens stays: an update without a gradient still moves the weights, by
    Adam's momentum and by weight decay.
    """
    in_loss = update.in_loss_B.nonzero()[:, 0]
    every_row = torch.arange(update.num_rows)
    if NO_GRADIENT in objective.waived_laws:
        found = in_loss if objective.selects else every_row
    else:
        found = (update.in_loss_B & (update.advantage_B != 0)).nonzero()[:, 0]
    if len(found):
        return found
    candidates = in_loss if len(in_loss) else every_row
    return candidates[update.mask_BT[candidates].sum(dim=1).argmin()][None]


def rows_that_train(batch: TrainBatch, rows: Tensor, objective: Objective, seed: int = 0) -> Tensor:
    """The rows of an update that can have a gradient.

    Args:
        seed: of this update, for a ``select`` that draws at random.
    """
    update = update_batch(batch, rows, objective, seed) if objective.selects else select_rows(batch, rows)
    return rows[with_gradient(update, objective)]


def training_part(batch: TrainBatch, rows: Tensor, objective: Objective, seed: int = 0) -> TrainBatch:
    """The rows of an update that can have a gradient, with their weights among all rows of the update."""
    whole = update_batch(batch, rows, objective, seed)
    return select_rows(replace(whole, entropy_BT=None), with_gradient(whole, objective))


def rows_without_own_pass(
    batch: TrainBatch, rows_of_updates: Sequence[Tensor], objective: Objective, *, for_records: bool, seed: int = 0
) -> Tensor:
    """Rows whose old log-probabilities need a forward pass before the first update.

    The first update's own forward pass gives those of the rows that it trains on. Rows without a gradient need theirs
    for records only. If ``select`` looks at the old policy, all rows in the loss need theirs first.

    Args:
        seed: as in ``train_on``.
    """
    needed = torch.zeros(batch.num_rows, dtype=torch.bool)
    needed[:] = for_records
    if objective.selects_by_old_policy:
        return (needed | batch.in_loss_B).nonzero()[:, 0]
    first, *others = [
        rows_that_train(batch, rows, objective, update_seed(seed, index)) for index, rows in enumerate(rows_of_updates)
    ]
    for rows in others:
        needed[rows] = True
    needed[first] = False
    return needed.nonzero()[:, 0]


def with_old_policy(trainer: Trainer, batch: TrainBatch, rows: Tensor, objective: Objective) -> TrainBatch:
    """The batch with the log-probabilities that the trainer's weights give to some rows.

    With their entropies as well, if the objective's ``select`` reads them.
    """
    return from_one_pass(trainer, batch, rows, ("old_logp_BT", *(["entropy_BT"] if objective.needs_entropy else [])))


def with_old_entropy(trainer: Trainer, batch: TrainBatch) -> TrainBatch:
    """The batch with the entropies of the trainer's weights for its rows in the loss; its log-probabilities stay."""
    return from_one_pass(trainer, batch, batch.in_loss_B.nonzero()[:, 0], ("entropy_BT",))


def from_one_pass(trainer: Trainer, batch: TrainBatch, rows: Tensor, names: Sequence[str]) -> TrainBatch:
    if not len(rows):
        return batch
    found = dict(zip(("old_logp_BT", "entropy_BT"), trainer.logp(select_rows(batch, rows)), strict=True))
    changed = {}
    for name in names:
        before_BT = getattr(batch, name)
        changed[name] = torch.zeros_like(batch.old_logp_BT) if before_BT is None else before_BT.clone()
        changed[name][rows] = found[name]
    return replace(batch, **changed)


def update_seed(seed: int, index: int) -> int:
    """The seed of one update's ``select``, from that of its rollout batch."""
    return derive_seed(seed, "select", index)


def train_on(
    trainer: Trainer,
    batch: TrainBatch,
    rows_of_updates: Sequence[Tensor],
    objective: Objective,
    *,
    is_on_policy: bool,
    seed: int = 0,
) -> tuple[list[dict[str, float]], TrainBatch]:
    """Take the updates of a batch, each with its own N, T and weights over all of its rows.

    Args:
        is_on_policy: whether the weights are those that ``old_logp_BT`` is of, so that the first update's own forward
            pass gives it; else the batch holds it for all rows.
        seed: of the rollout batch, for a ``select`` that draws at random.

    Returns:
        The metrics of each update, and the batch with the old log-probabilities that the first update found. If
        ``select`` looked at the old policy, the batch keeps the ones that it saw.
    """
    metrics = []
    for index, rows in enumerate(rows_of_updates):
        whole = update_batch(batch, rows, objective, update_seed(seed, index))
        trained = with_gradient(whole, objective)
        part = select_rows(replace(whole, entropy_BT=None), trained)
        if is_on_policy and index == 0:
            of_update, own_BT = trainer.first_update(part, objective)
            if not objective.selects_by_old_policy:
                old_logp_BT = batch.old_logp_BT.clone()
                old_logp_BT[rows[trained]] = own_BT
                batch = replace(batch, old_logp_BT=old_logp_BT)
        else:
            of_update = trainer.update(part, objective)
        metrics.append(of_update | row_metrics(whole) | selection_metrics(whole, select_rows(batch, rows)))
    return metrics, batch
