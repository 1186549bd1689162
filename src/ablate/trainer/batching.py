"""From groups of verified rollouts to batches, updates and micro-batches. Pure functions, no Megatron.

Shape suffixes: B rows, S tokens of a row, T = S - 1 predictions, P groups (problems), G samples of one group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ablate.errors import UserError
from ablate.objectives.base import Objective
from ablate.objectives.batch import build_batch, each_tensor, select_rows
from ablate.types import RolloutGroup, TrainBatch

Row = tuple[Sequence[int], Sequence[int], Sequence[float]]  # tokens of prompt and response, log p of the response


def make_batch(groups: Sequence[RolloutGroup], objective: Objective) -> TrainBatch:
    """Return the rollouts of whole groups as rows, in group order, with advantages and weights.

    ``old_logp_BT`` holds the engine's values until the trainer has recomputed them.

    Args:
        groups: all of the same size G.
    """
    completions = [completion for group in groups for completion in group.completions]
    reward_PG = torch.tensor([group.rewards for group in groups], dtype=torch.float64)
    tokens_BS, mask_BT, logp_BT = to_tensors([(c.prompt_ids, c.response_ids, c.logp) for c in completions])
    return build_batch(
        objective,
        reward_PG=reward_PG,
        truncated_PG=torch.tensor([not c.finished for c in completions]).view_as(reward_PG),
        length_PG=torch.tensor([len(c.response_ids) for c in completions]).view_as(reward_PG),
        mask_BT=mask_BT,
        old_logp_BT=logp_BT,
        rollout_logp_BT=logp_BT,
        tokens_BS=tokens_BS,
    )


def to_tensors(rows: Sequence[Row]) -> tuple[Tensor, Tensor, Tensor]:
    """Lay (prompt tokens, response tokens, log-probabilities of the response) out as rows of one length.

    Returns:
        tokens_BS (padded with 0 on the right), mask_BT and logp_BT (nats, 0 outside the mask).
    """
    num_tokens = max(len(prompt) + len(response) for prompt, response, _ in rows)
    tokens_BS = torch.zeros(len(rows), num_tokens, dtype=torch.int64)
    mask_BT = torch.zeros(len(rows), num_tokens - 1, dtype=torch.bool)
    logp_BT = torch.zeros(len(rows), num_tokens - 1)
    for index, (prompt, response, logp) in enumerate(rows):
        start, end = len(prompt), len(prompt) + len(response)
        tokens_BS[index, :start] = torch.from_numpy(np.asarray(prompt, np.int32))
        tokens_BS[index, start:end] = torch.from_numpy(np.asarray(response, np.int32))
        mask_BT[index, start - 1 : end - 1] = True  # position t describes the prediction of token t + 1
        logp_BT[index, start - 1 : end - 1] = torch.from_numpy(np.asarray(logp, np.float64))
    return tokens_BS, mask_BT, logp_BT


def rows_of_updates(num_rows: int, num_updates: int, seed: int) -> list[Tensor]:
    """Return the rows of a rollout batch that each update trains on: a seeded shuffle, cut into equal parts.

    Args:
        seed: of this batch (derive it from the run's seed and the step), so that resuming repeats the same split.
    """
    order = torch.randperm(num_rows, generator=torch.Generator().manual_seed(seed))
    return [rows.sort().values for rows in order.tensor_split(num_updates)]


def on_device(batch: TrainBatch, device: torch.device) -> TrainBatch:
    """Batches live on the CPU; a micro-batch moves to the model's device when its turn comes."""
    return each_tensor(batch, lambda tensor: tensor.to(device))


def row_lengths(batch: TrainBatch) -> list[int]:
    """Number of tokens of each row up to its last response token; the rest is padding."""
    position_T = torch.arange(1, batch.mask_BT.shape[1] + 1, device=batch.mask_BT.device)
    return ((batch.mask_BT * position_T).amax(dim=1) + 1).tolist()


@dataclass(frozen=True)
class MicroBatch:
    """Rows that go through the model together; filler rows are not in the loss."""

    rows: tuple[int, ...]
    num_tokens: int  # of the longest row
    size: int  # tokens the model sees, padding included
    is_filler: bool = False


def plan_micro_batches(
    lengths: Sequence[int], max_tokens: int, *, num_ranks: int, row_multiple: int, multiple_of: int, packing: bool
) -> list[list[MicroBatch]]:
    """Split rows into micro-batches, the same number for every data-parallel rank.

    A padded row shares a micro-batch with rows of similar length; a packed row goes wherever there is room.

    Args:
        lengths: tokens of each row.
        max_tokens: largest size of one micro-batch, padding included; context ranks share its tokens.
        num_ranks: data-parallel ranks.
        row_multiple: every row is padded to a multiple of this.
        multiple_of: the micro-batch as a whole (a padded row, or packed rows) is padded to a multiple of this.
        packing: lay rows end to end instead of padding them to one length.

    Returns:
        One list of micro-batches per rank. The plan changes no gradient, only how much is computed at once.

    Raises:
        UserError: when a single row is longer than the budget.
    """

    def round_up(length: int, multiple: int = multiple_of) -> int:
        return -(-length // multiple) * multiple

    def size_of(rows: Sequence[int]) -> int:
        if packing:
            return round_up(sum(round_up(lengths[row], row_multiple) for row in rows))
        return round_up(max(lengths[row] for row in rows)) * len(rows)

    def micro_batch(rows: Sequence[int], is_filler: bool = False) -> MicroBatch:
        return MicroBatch(tuple(rows), round_up(max(lengths[row] for row in rows)), size_of(rows), is_filler)

    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    if size_of(order[:1]) > max_tokens:
        raise UserError(
            f"a row of {size_of(order[:1])} tokens does not fit parallel.max_tokens_per_micro_batch={max_tokens}: "
            f"raise it to at least {size_of(order[:1])}"
        )
    bins: list[list[int]] = []
    for row in order:
        open_bins = bins if packing else bins[-1:]
        room = next((rows for rows in open_bins if size_of([*rows, row]) <= max_tokens), None)
        if room is None:
            bins.append([row])
        else:
            room.append(row)
    while len(bins) % num_ranks and any(len(rows) > 1 for rows in bins):
        largest = max(bins, key=lambda rows: size_of(rows) if len(rows) > 1 else 0)
        bins.remove(largest)
        bins += [largest[: len(largest) // 2], largest[len(largest) // 2 :]]
    filler = [micro_batch(order[-1:], is_filler=True)] * (-len(bins) % num_ranks)
    return deal([micro_batch(rows) for rows in bins] + filler, num_ranks)


def deal(micro_batches: list[MicroBatch], num_ranks: int) -> list[list[MicroBatch]]:
    """Give every rank the same number; the next largest goes to the rank with the fewest tokens so far."""
    shares: list[list[MicroBatch]] = [[] for _ in range(num_ranks)]
    count, tokens = len(micro_batches) // num_ranks, [0] * num_ranks
    for micro_batch in sorted(micro_batches, key=lambda m: (-m.size, m.rows)):
        rank = min((r for r in range(num_ranks) if len(shares[r]) < count), key=lambda r: tokens[r])
        shares[rank].append(micro_batch)
        tokens[rank] += micro_batch.size
    return shares


def cut(batch: TrainBatch, micro_batch: MicroBatch) -> TrainBatch:
    """The micro-batch's rows, without the padding beyond its own longest row."""
    taken = select_rows(batch, torch.tensor(micro_batch.rows))
    num_tokens = micro_batch.num_tokens
    missing = num_tokens - taken.tokens_BS.shape[1]
    per_token = {}
    for name in ("tokens_BS", "mask_BT", "old_logp_BT", "rollout_logp_BT", "weight_BT", "ref_logp_BT", "selected_BT"):
        tensor = getattr(taken, name)
        if tensor is not None:
            width = num_tokens if name == "tokens_BS" else num_tokens - 1
            tensor = torch.nn.functional.pad(tensor, (0, missing)) if missing > 0 else tensor[:, :width]
        per_token[name] = tensor
    if micro_batch.is_filler:
        per_token["weight_BT"] = torch.zeros_like(per_token["weight_BT"])
        return replace(taken, in_loss_B=torch.zeros_like(taken.in_loss_B), **per_token)
    return replace(taken, **per_token)
