"""Which objective a user's own loss function computes: what ``ablate.conform`` prints."""

from __future__ import annotations

import importlib.util
import inspect
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ablate.cli import objective_config, objective_names
from ablate.errors import UserError
from ablate.objectives import build, canonical
from ablate.objectives.laws.step import StepRollouts, loss_and_gradient, step_batch
from ablate.objectives.laws.synthetic import Shape, random_rollouts

EQUAL = 1e-6  # of the largest value
SHOWN = 8
# (seed, deviation of the log-ratios) of the batches: steps of PPO's size, large ones, and small ones for GSPO's clip.
SCALES = ((1, 0.25), (5, 0.25), (3, 1.2), (2, 4e-4), (6, 4e-4))
# What the search recombines, on top of an objective whose other slots leave every row in.
RATIOS = ("token", "sequence", "sequence_value_token_gradient", "product")
WEIGHTS = ("sequence_mean", "token_mean", "constant_length", "prompt_mean")
CLIPS = ((0.2, 0.2), (0.2, 0.28), (0.2, 0.3), (3e-4, 4e-4))
# The same advantages on both sides, and every row in the loss.
COMMON = {"keep": "all", "shape": "verdict", "overlong": "train", "advantage": "group_normalised", "eps": 1e-6,
          "select": "all"}  # fmt: skip


@dataclass(frozen=True)
class Match:
    """How near one objective of ours is: cosine of the gradients, the factor between them, the gap after scaling."""

    name: str
    cosine: float
    scale: float
    gap: float  # largest difference after scaling, of the largest value

    @property
    def is_equal(self) -> bool:
        return self.gap <= EQUAL


def examine(place: str, options: dict[str, str]) -> list[str]:
    """The lines of the answer."""
    torch.set_num_threads(1)
    function = load(place)
    adds, per_row = (
        choice(options, "micro_batches", ("mean", "sum")),
        choice(options, "advantages", ("token", "row")) == "row",
    )
    names = options.get("objectives", "").strip("[]")
    chosen = names.split(",") if names else [name for name in objective_names() if name != "sft"]
    batches = make_batches()
    whole = [gradient(function, batch, [range(batch.mask_BT.shape[0])], adds, per_row) for batch in batches]
    if all(not grad_BT.any() for grad_BT in whole):
        raise UserError(f"{place} has no gradient by its first argument: does it detach logp?")
    matches = sorted((match(name, whole, batches) for name in chosen), key=lambda each: (-each.cosine, each.name))
    lines = [f"{place} on {len(batches)} batches, whole, given the same advantages:", ""]
    lines += [line_of(each) for each in matches[:SHOWN]]
    best = matches[0]
    if not best.is_equal:
        found = search(whole, batches, best.name)
        lines += ["", *recombined(found, best)]
    else:
        same = [each.name for each in matches if each.is_equal and each.name != best.name]
        others = f" (and {', '.join(same)}, which differ in slots that the function does not see)" if same else ""
        scale = "" if abs(best.scale - 1) <= EQUAL else f", times {best.scale:.6g}"
        lines += ["", f"It computes our {best.name}{others}{scale}."]
    return [*lines, split_sentence(function, batches, whole, adds, per_row)]


def choice(options: dict[str, str], key: str, choices: tuple[str, ...]) -> str:
    value = options.get(key, choices[0])
    if value not in choices:
        raise UserError(f"{key}={value} is unknown: use {' or '.join(choices)}")
    return value


def load(place: str) -> Callable[..., Any]:
    """The function that ``FILE.py:function`` or ``package.module:function`` names."""
    source, _, name = place.rpartition(":")
    if source.endswith(".py"):
        path = Path(source)
        if not path.is_file():
            raise UserError(f"{path} is not a file: write FILE.py:function")
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    else:
        try:
            module = importlib.import_module(source)
        except ModuleNotFoundError as error:
            raise UserError(f"{source} cannot be imported ({error}): install it, or write FILE.py:function") from error
    function = getattr(module, name, None)
    if not callable(function):
        known = ", ".join(each for each, _ in inspect.getmembers(module, inspect.isfunction)) or "none"
        raise UserError(f"{source} has no function {name}: its functions are {known}")
    return function


def objective_of(name: str) -> dict[str, Any]:
    """The configuration of an objective, as a run records it."""
    return canonical(objective_config(name, ()), base=lambda: objective_config(name, ()))


def make_batches() -> list[StepRollouts]:
    """Small steps and large ones: GSPO's clip range is a thousandth of PPO's."""
    return [random_rollouts(Shape(seed, 4, 4, 24, scale)) for seed, scale in SCALES]


def advantages_of(batch: StepRollouts) -> Tensor:
    return step_batch(build({**objective_of("grpo"), **COMMON}), batch).advantage_B


def gradient(
    function: Callable[..., Any], batch: StepRollouts, split: Sequence[Sequence[int]], adds: str, per_row: bool
) -> Tensor:
    """d loss / d logp_BT of the user's function, over micro-batches.

    Raises:
        UserError: if it raises, or returns no scalar.
    """
    logp_BT = batch.logp_BT.clone().requires_grad_()
    advantage_B = advantages_of(batch)
    total = torch.zeros((), dtype=torch.float64)
    for rows in split:
        index = torch.tensor(list(rows))
        mask_BT = batch.mask_BT[index]
        given = advantage_B[index] if per_row else advantage_B[index, None].expand(mask_BT.shape) * mask_BT
        try:
            loss = function(logp_BT[index], batch.old_logp_BT[index], given, mask_BT.to(torch.float64))
        except Exception as error:  # the user's code: its own words are the best ones
            raise UserError(
                f"the function raised {type(error).__name__}: {error}: it takes (logp, old_logp, advantages, mask)"
            ) from error
        loss = loss[0] if isinstance(loss, tuple) else loss
        if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
            raise UserError("the function must return a scalar tensor, or a tuple that begins with one")
        total = total + loss.reshape(()) / (len(split) if adds == "mean" else 1)
    if not total.requires_grad:
        return torch.zeros_like(batch.logp_BT)
    return torch.autograd.grad(total, logp_BT)[0].masked_fill(~batch.mask_BT, 0.0)


def match(
    name: str, theirs: Sequence[Tensor], batches: Sequence[StepRollouts], knobs: dict[str, Any] | None = None
) -> Match:
    """Compare with one objective, its advantages replaced by those that the function was given."""
    objective = build({**objective_of(name), **COMMON, **(knobs or {})})
    ours = [loss_and_gradient(objective, batch.logp_BT, step_batch(objective, batch))[1] for batch in batches]
    a, b = (torch.cat([grad_BT.flatten() for grad_BT in each]) for each in (ours, theirs))
    norm = a.norm() * b.norm()
    cosine = float(a @ b / norm) if norm > 0 else 0.0
    scale = float(a @ b / (a @ a)) if a.any() else 0.0
    gap = float((b - scale * a).abs().max() / b.abs().max())
    return Match(name, cosine, scale, gap)


def search(theirs: Sequence[Tensor], batches: Sequence[StepRollouts], base: str) -> list[tuple[Match, dict[str, Any]]]:
    """The nearest objectives among recombined ratios, weights and clip ranges of the nearest one, best first."""
    found = []
    for ratio, weight, (low, high) in itertools.product(RATIOS, WEIGHTS, CLIPS):
        knobs = {"ratio": ratio, "weight": weight, "clip_low": low, "clip_high": high,
                 "constant_length": 1.0 if weight == "constant_length" else None}  # fmt: skip
        try:
            found.append((match(base, theirs, batches, knobs), knobs))
        except UserError:  # this surrogate is not defined for that ratio
            continue
    return sorted(found, key=lambda each: -each[0].cosine)


def recombined(found: Sequence[tuple[Match, dict[str, Any]]], best: Match) -> list[str]:
    if not found or found[0][0].cosine <= best.cosine + EQUAL:
        return [f"No objective here computes it. The nearest is {best.name}, with cosine {best.cosine:.6f}."]
    near, knobs = found[0]
    words = " ".join(f"objective.{key}={value}" for key, value in knobs.items() if value is not None)
    verb = "It computes" if near.is_equal else "Nearer, and not equal, is"
    scale = "" if abs(near.scale - 1) <= EQUAL else f", times {near.scale:.6g}"
    return [f"{verb} objective={best.name} {words}{scale} (cosine {near.cosine:.6f})."]


def line_of(each: Match) -> str:
    verdict = "equal" if each.is_equal else ""
    return f"  {each.name:30} cosine {each.cosine:9.6f}   scale {each.scale:11.6g}   {verdict}".rstrip()


def split_sentence(
    function: Callable[..., Any], batches: Sequence[StepRollouts], whole: Sequence[Tensor], adds: str, per_row: bool
) -> str:
    """Does the gradient depend on how rows are split into micro-batches?"""
    worst = 0.0
    for batch, grad_BT in zip(batches, whole, strict=True):
        rows = range(batch.mask_BT.shape[0])
        for size in (len(rows) // 2, 2):
            split = [rows[start : start + size] for start in range(0, len(rows), size)]
            gap_BT = gradient(function, batch, split, adds, per_row) - grad_BT
            worst = max(worst, float(gap_BT.abs().max() / grad_BT.abs().max()))
    if worst <= EQUAL:
        return "Its gradient does not depend on how rows are split into micro-batches."
    return (
        f"Its gradient depends on how rows are split into micro-batches: the largest change is {100 * worst:.0f} % of "
        f"the largest value (micro_batches={adds}). A trainer that splits rows then computes another objective."
    )
