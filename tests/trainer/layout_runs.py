"""What one rank does in a comparison of layouts: the same few steps under any of them, and everything they produced.

Run as a program it is one rank of a job: ``python layout_runs.py KIND OUT CHECKPOINTS=MODEL_DIR=LAYOUT...``; ranks.py
forks such ranks. CHECKPOINTS is a directory with a checkpoint of one process, to which those of layouts are added.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from cases import (
    CONTEXT,
    OBJECTIVES,
    gathered,
    gathered_gradients,
    layout_named,
    objective_named,
    off_policy_batch,
    open_trainer,
    rollout_groups,
)
from collectives import CollectiveLog

from ablate.cli import compose
from ablate.config import ParallelConfig, parse
from ablate.trainer.batching import make_batch


def run_layout(model_dir: Path, parallel: ParallelConfig, old_logp_BT: torch.Tensor | None) -> dict[str, Any]:
    """Two steps of each objective from the same start; everything that must not depend on the layout."""
    batch = make_batch(rollout_groups(), objective_named("grpo"))
    found: dict[str, Any] = {
        "yarn_logp": open_trainer(model_dir, parallel, original_context=CONTEXT // 2).logp(batch)[0]
    }
    trainer = open_trainer(model_dir, parallel)
    found["weights"] = gathered(trainer)
    found["logp"], found["entropy"] = trainer.logp(batch)
    old_logp_BT = found["logp"] if old_logp_BT is None else old_logp_BT
    for name in OBJECTIVES:
        trainer = open_trainer(model_dir, parallel)
        objective = objective_named(name)
        batch = off_policy_batch(objective, old_logp_BT)
        found[name] = {"metrics": [trainer.update(batch, objective)]}
        if not parallel.distributed_optimizer:  # there a rank holds only its own shard of the gradient
            found[name]["gradients"] = gathered_gradients(trainer)
        found[name]["metrics"].append(trainer.update(batch, objective))
        found[name]["weights"] = gathered(trainer)
    return found


def resume(model_dir: Path, parallel: ParallelConfig, checkpoints: Path, old_logp_BT: torch.Tensor) -> dict[str, Any]:
    """Load a checkpoint, whoever wrote it, and take the next step."""
    trainer = open_trainer(model_dir, parallel)
    extra = trainer.checkpoints.load(checkpoints, 1)
    found = {"extra": extra, "weights": gathered(trainer)}
    objective = objective_named("gspo_plus")
    found["metrics"] = [trainer.update(off_policy_batch(objective, old_logp_BT), objective)]
    found["next_weights"] = gathered(trainer)
    return found


def write_checkpoint(
    model_dir: Path, parallel: ParallelConfig, checkpoints: Path, old_logp_BT: torch.Tensor, asynchronous: bool = False
) -> None:
    """Two steps and a checkpoint, numbered 1."""
    trainer = open_trainer(model_dir, parallel)
    objective = objective_named("gspo_plus")
    batch = off_policy_batch(objective, old_logp_BT)
    for _ in range(2):
        trainer.update(batch, objective)
    trainer.checkpoints.save(checkpoints, 1, {"seen": {3: "x"}}, keep=1, best=None, asynchronous=asynchronous)
    trainer.checkpoints.finish_save()


def largest_gap(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> float:
    assert left.keys() == right.keys()
    return max((left[name] - right[name]).abs().max().item() for name in left)


def largest_relative_gap(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> float:
    assert left.keys() == right.keys()
    return max(((left[name] - right[name]).norm() / left[name].norm()).item() for name in left)


def parity(model_dir: Path, layout: str, checkpoints: Path, log: CollectiveLog) -> dict[str, Any]:
    """Everything that a layout finds, and what becomes of its own checkpoint and of one process's (same precision)."""
    log.phase = layout
    old_logp_BT, parallel = torch.load(checkpoints / "old_logp.pt"), layout_named(layout)
    found = run_layout(model_dir, parallel, old_logp_BT)
    single = checkpoints / ("single_bf16" if parallel.precision == "bf16" else "single")
    found["resumed"] = resume(model_dir, parallel, single, old_logp_BT)
    write_checkpoint(model_dir, parallel, checkpoints / layout, old_logp_BT)
    found["resumed_own"] = resume(model_dir, parallel, checkpoints / layout, old_logp_BT)
    return found


def step(model_dir: Path, layout: str, checkpoints: Path, log: CollectiveLog) -> dict[str, Any]:
    """All that a run asks of the trainer, once each, in a layout of conf/parallel as it is but for the row's length."""
    log.phase = "open"
    small = {"max_tokens_per_micro_batch": 256, "logp_chunk_tokens": 64, "collective_timeout_s": 300}
    trainer = open_trainer(model_dir, replace(parse(compose([f"parallel={layout}"])).parallel, **small))
    objective = objective_named("gspo_plus")
    batch = make_batch(rollout_groups(), objective)
    log.phase = "logp"
    found: dict[str, Any] = {"logp": trainer.logp(batch)[0]}
    log.phase = "first update"
    first, old_logp_BT = trainer.first_update(batch, objective)
    log.phase = "second update"
    second = trainer.update(replace(batch, old_logp_BT=old_logp_BT), objective)
    found["metrics"] = [first, second]
    log.phase = "save"
    trainer.checkpoints.save(checkpoints / layout, 1, {"step": 1}, keep=1, best=None, asynchronous=True)
    trainer.checkpoints.publish_if_written()
    log.phase = "gather"
    found["weights"] = gathered(trainer)
    log.phase = "finish the save"
    trainer.checkpoints.finish_save()
    log.phase = "resume"
    found["extra"] = trainer.checkpoints.load_newest(checkpoints / layout, print)
    found["resumed_weights"] = gathered(trainer)
    return found


KINDS = {"parity": parity, "step": step}


def run_rank(kind: str, names: Sequence[str], out: Path) -> None:
    """What each rank does; rank 0 writes the results, by the names of the cases."""
    with CollectiveLog() as log:
        for name in names:
            checkpoints, model_dir, layout = name.split("=")
            found = KINDS[kind](Path(model_dir), layout, Path(checkpoints), log)
            if torch.distributed.get_rank() == 0:
                torch.save(found, out / f"{Path(checkpoints).name}_{layout}.pt")
        log.phase = "end"
        torch.distributed.barrier()
    torch.save(log.calls, out / f"collectives{torch.distributed.get_rank()}.pt")


if __name__ == "__main__":
    run_rank(sys.argv[1], sys.argv[3:], Path(sys.argv[2]))
