"""Cases: small rollout batches in JSON whose advantages, loss and gradients can be compared with another program's.

A case is ``{"objective", "knobs", "num_groups", "group_size", "reward", "truncated", "length", "old_logp", "logp"}``;
the per-group fields are lists of ``num_groups`` lists of ``group_size`` values, ``old_logp`` and ``logp`` one list of
nats per rollout, in row-major order of the groups. ``knobs`` override keys of conf/objective/NAME.yaml: numbers, terms
and slots. ``rollout_logp`` (the engine's; absent: as ``old_logp``), ``ref_logp`` (the reference's) and ``entropy`` (the
old policy's) are optional and shaped as ``old_logp``. ``dynamic_sampling: true | false`` is read as ``keep:
mixed_outcomes | all``, and ``overlong: soft_penalty`` as ``shape: soft_overlong_penalty``. Everything is float64.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ablate.errors import UserError
from ablate.objectives.laws.step import StepRollouts, loss_and_gradient, step_batch
from ablate.objectives.registry import build, canonical

ConfigOf = Callable[[str], Mapping[str, Any]]
FIELDS = ("objective", "num_groups", "group_size", "reward", "truncated", "length", "old_logp", "logp")


def replay_file(source: Path, target: Path, config_of: ConfigOf) -> int:
    """Replay the cases of one JSON file into another; returns how many.

    Args:
        config_of: ``(name) -> mapping``, the configuration that a case's knobs override.

    Raises:
        UserError: naming the wrong case, counted from 1.
    """
    try:
        cases = json.loads(source.read_text())
    except FileNotFoundError as error:
        raise UserError(f"case file {source} does not exist: correct cases=") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"case file {source} is not readable JSON ({error}): correct the file") from error
    if not isinstance(cases, list):
        raise UserError(f"case file {source} must hold a list of cases, not a {type(cases).__name__}")
    results = []
    for number, case in enumerate(cases, start=1):
        try:
            results.append(replay(case, config_of))
        except UserError as error:
            raise UserError(f"case {number} of {len(cases)} in {source}: {error}") from error
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(results))
    except OSError as error:
        raise UserError(f"out={target} cannot be written ({error}): choose another path") from error
    return len(results)


def replay(case: Mapping[str, Any], config_of: ConfigOf) -> dict[str, Any]:
    """One case's ``{"advantage", "loss", "grad", "in_loss"}``; ``grad`` is d loss / d logp per token.

    With a ``select`` other than ``all`` also ``selected``: 1 for each token that is left in the loss, else 0.
    """
    check_fields(case)
    objective = build(case_config(case, config_of(case["objective"])))
    rollouts = case_rollouts(case)
    batch = step_batch(objective, rollouts)
    loss, grad_BT = loss_and_gradient(objective, rollouts.logp_BT, batch)
    lengths = rollouts.length_PG.flatten().tolist()
    selected = {} if batch.selected_BT is None else {"selected": per_token(batch.selected_BT.int(), lengths)}
    return {
        "advantage": batch.advantage_B.view_as(rollouts.reward_PG).tolist(),
        "loss": loss.item(),
        "grad": per_token(grad_BT, lengths),
        "in_loss": batch.in_loss_B.view_as(rollouts.reward_PG).tolist(),
        **selected,
    }


def per_token(value_BT: Tensor, lengths: Sequence[int]) -> list[list[float]]:
    return [row[:length].tolist() for row, length in zip(value_BT, lengths, strict=True)]


def case_config(case: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    knobs = dict(case.get("knobs") or {})
    if "dynamic_sampling" in knobs:
        is_on = knobs.pop("dynamic_sampling")
        if not isinstance(is_on, bool):
            raise UserError(f"dynamic_sampling={is_on!r} must be true or false")
        knobs["keep"] = "mixed_outcomes" if is_on else "all"
    if knobs.get("overlong") == "soft_penalty":
        knobs |= {"overlong": "train", "shape": "soft_overlong_penalty"}
    return canonical({**config, **knobs, "name": case["objective"]}, base=lambda: config)


def case_rollouts(case: Mapping[str, Any]) -> StepRollouts:
    """The case as right-padded tensors; without ``rollout_logp`` the engine agrees with the trainer."""
    reward_PG, truncated_PG, length_PG = (grid(case, field) for field in ("reward", "truncated", "length"))
    lengths = length_PG.flatten()
    mask_BT = torch.arange(max(1, int(lengths.max()))) < lengths[:, None]
    old_BT, logp_BT = (padded(case, field, mask_BT) for field in ("old_logp", "logp"))
    return StepRollouts(
        reward_PG=reward_PG,
        truncated_PG=truncated_PG,
        length_PG=length_PG,
        mask_BT=mask_BT,
        logp_BT=logp_BT,
        old_logp_BT=old_BT,
        rollout_logp_BT=padded(case, "rollout_logp", mask_BT) if "rollout_logp" in case else old_BT,
        ref_logp_BT=padded(case, "ref_logp", mask_BT) if "ref_logp" in case else None,
        entropy_BT=padded(case, "entropy", mask_BT) if "entropy" in case else None,
    )


def check_fields(case: Any) -> None:
    if not isinstance(case, Mapping):
        raise UserError(f"a case must be an object, not {type(case).__name__}")
    missing = [field for field in FIELDS if field not in case]
    if missing:
        raise UserError(f"{', '.join(missing)} missing: add it")
    if not isinstance(case.get("knobs") or {}, Mapping):
        raise UserError(f"knobs must be an object, not {type(case['knobs']).__name__}")
    unknown = sorted(set(case) - {*FIELDS, "knobs", "rollout_logp", "ref_logp", "entropy", "expected"})
    if unknown:
        raise UserError(f"unknown field {', '.join(unknown)}: remove it")
    if not isinstance(case["objective"], str):
        raise UserError(f"objective must be a name, not {case['objective']!r}")
    for field in ("num_groups", "group_size"):
        if not isinstance(case[field], int) or isinstance(case[field], bool) or case[field] < 1:
            raise UserError(f"{field} must be a whole number above 0, not {case[field]!r}")


def grid(case: Mapping[str, Any], field: str) -> Tensor:
    """A per-group field as a tensor [P, G] of its own type, checked."""
    kind, rule = {
        "reward": ((int, float), "numbers"),
        "truncated": ((bool,), "true or false"),
        "length": ((int,), "whole numbers"),
    }[field]
    rows, shape = case[field], (case["num_groups"], case["group_size"])
    if (
        not isinstance(rows, list)
        or len(rows) != shape[0]
        or any(not isinstance(row, list) or len(row) != shape[1] for row in rows)
    ):
        raise UserError(f"{field} must be {shape[0]} lists of {shape[1]} values: correct its shape")
    values = [value for row in rows for value in row]
    if any(not isinstance(value, kind) or (isinstance(value, bool) and bool not in kind) for value in values):
        raise UserError(f"{field} must hold {rule} only: correct its values")
    if field == "length" and min(values) < 0:
        raise UserError(f"length must be 0 or above, not {min(values)}")
    if not all(abs(value) <= sys.float_info.max for value in values):
        raise UserError(f"{field} must be finite: correct its values")
    return torch.tensor(rows, dtype={"reward": torch.float64, "truncated": torch.bool, "length": torch.int64}[field])


def padded(case: Mapping[str, Any], field: str, mask_BT: Tensor) -> Tensor:
    """Per-token nats [B, T], right-padded with 0, checked against the lengths."""
    rows, lengths = case[field], mask_BT.sum(dim=1).tolist()
    if not isinstance(rows, list) or len(rows) != len(lengths):
        raise UserError(f"{field} must hold one list per rollout, {len(lengths)} of them: correct it")
    values_BT = torch.zeros(mask_BT.shape, dtype=torch.float64)
    for index, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        if not isinstance(row, list) or len(row) != length:
            raise UserError(f"{field}[{index}] must hold {length} numbers, as length says: correct it")
        if any(not isinstance(value, (int, float)) or isinstance(value, bool) for value in row):
            raise UserError(f"{field}[{index}] must hold numbers only: correct it")
        if not all(abs(value) <= sys.float_info.max for value in row):
            raise UserError(f"{field}[{index}] must hold finite numbers: correct it")
        values_BT[index, :length] = torch.tensor(row, dtype=torch.float64)
    return values_BT
