"""What each objective does with each token of a recorded batch, as rows of ``records.token_values``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ablate.objectives import Objective
from ablate.objectives.metrics import clip_binds
from ablate.records.rollouts import RecordedStep
from ablate.records.token_values import ROWS_AT_ONCE
from ablate.types import TrainBatch

Decode = Callable[[Sequence[int]], str]  # token ids to text, special tokens kept


def token_parts(
    recorded: RecordedStep,
    rows: Sequence[int],
    logp_BT: Tensor,
    objectives: Mapping[str, Objective],
    gradients: Mapping[str, Tensor],
    batch_for: Callable[[Objective], TrainBatch],
    decode: Decode,
) -> Iterator[list[dict[str, Any]]]:
    """Yield a few rows at a time, in the order of the batch.

    Args:
        rows: for each row of the batch, its row in the recorded step.
        logp_BT: at the checkpoint, in nats.
        gradients: of each objective, d loss / d logp [B, T].
        batch_for: the batch with an objective's advantages and weights.
    """
    values = {
        name: values_of(objective, logp_BT, batch_for(objective), gradients[name])
        for name, objective in objectives.items()
    }
    batch = batch_for(next(iter(objectives.values())))
    completions = [completion for group in recorded.groups for completion in group.completions]
    texts = Texts(decode)
    for start in range(0, len(rows), ROWS_AT_ONCE):
        part = []
        for index in range(start, min(start + ROWS_AT_ONCE, len(rows))):
            completion, mask_T = completions[rows[index]], batch.mask_BT[index]
            part.append(
                {
                    "rollout": int(rows[index]),
                    "problem_id": completion.problem_id,
                    "sample": completion.sample,
                    "tokens": [texts[token] for token in completion.response_ids],
                    "logp": logp_BT[index][mask_T].tolist(),
                    "old_logp": batch.old_logp_BT[index][mask_T].tolist(),
                    "rollout_logp": batch.rollout_logp_BT[index][mask_T].tolist(),
                    **{key: value_BT[index][mask_T].tolist() for key, value_BT in flat(values).items()},
                }
            )
        yield part


def values_of(objective: Objective, logp_BT: Tensor, batch: TrainBatch, gradient_BT: Tensor) -> dict[str, Tensor]:
    """Share of the gradient, clip and log-ratio of every token, each [B, T]."""
    mass = gradient_BT.abs().sum()
    binds = clip_binds(objective, logp_BT, batch)
    none_BT = torch.zeros_like(batch.mask_BT)
    low_BT, high_BT = (none_BT, none_BT) if binds is None else binds
    ratio_BT = objective.log_ratio(logp_BT, batch)
    return {
        "share": -gradient_BT / mass if mass > 0 else torch.zeros_like(gradient_BT),
        "clip": high_BT.to(torch.int8) - low_BT.to(torch.int8),
        "log_ratio": ratio_BT.expand_as(logp_BT),
    }


def flat(values: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {f"{name}/{key}": value_BT for name, each in values.items() for key, value_BT in each.items()}


class Texts(dict[int, str]):
    """Token id -> its text, decoded once. A token that is part of a character decodes to U+FFFD."""

    def __init__(self, decode: Decode) -> None:
        self.decode = decode

    def __missing__(self, token: int) -> str:
        self[token] = self.decode([token])
        return self[token]
