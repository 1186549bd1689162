"""Checkpoints of a trainer on one device, and processes that end in the middle of a step."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.one_gpu.setup import (
    HAS_GPU,
    SINGLE,
    SMALL,
    objective,
    on_policy,
    open_trainer,
    random_batch,
    write_model,
)

LENGTHS = [40, 25, 64, 33]
STEP_LIMIT_S = 60.0
OOM_BYTES = 2**50


def resident_bytes(name: str) -> int:
    return int(re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024


def weights_of(trainer: Any) -> dict[str, torch.Tensor]:
    return trainer.gather_weights(lambda tensors: {name: tensor.cpu().clone() for name, tensor in tensors})


def checkpoints() -> dict[str, Any]:
    """Save while an update runs, resume under the same and the other kind of optimizer, read the weights alone."""
    from ablate.estimate.memory import host_bytes_of_rank
    from ablate.estimate.shape import shape_of
    from ablate.models.architecture import read_architecture
    from ablate.trainer.checkpoint.whole_weights import checkpoint_tensors

    sizes = {**SMALL, "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 8} if HAS_GPU else SMALL
    model_dir, found = write_model(sizes, 64), {}
    shape = shape_of(vars(read_architecture(model_dir)))
    kinds = {"plain": SINGLE, "distributed": replace(SINGLE, distributed_optimizer=True)}
    if HAS_GPU:
        kinds = {name: replace(parallel, precision="bf16") for name, parallel in kinds.items()}
    for name, parallel in kinds.items():
        root = Path(tempfile.mkdtemp(prefix="ablate-one-gpu-"))
        trainer = open_trainer(model_dir, parallel, 64)
        batch = on_policy(trainer, random_batch(LENGTHS, sizes["vocab_size"]))
        trainer.update(batch, objective())
        saved = weights_of(trainer)
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far: proc(5)
        before, start = resident_bytes("VmRSS"), time.perf_counter()
        trainer.checkpoints.save(root, 1, {}, keep=1, best=None, asynchronous=True)
        held_s = time.perf_counter() - start
        after_update = trainer.update(batch, objective())
        trainer.checkpoints.finish_save()
        found[name] = {
            "held_s": held_s,
            "written_s": time.perf_counter() - start,
            "host_gb": (resident_bytes("VmHWM") - before) / 1e9,
            "predicted_host_gb": host_bytes_of_rank(shape, replace(parallel, world_size=1)) / 1e9,
        }
        for reader, other in kinds.items():
            resumed = open_trainer(model_dir, other, 64)
            resumed.checkpoints.load(root, 1)
            loaded = weights_of(resumed)
            assert all(torch.equal(loaded[key], tensor) for key, tensor in saved.items()), (name, reader)
            again = resumed.update(batch, objective())
            gap = abs(again["train/grad_norm"] - after_update["train/grad_norm"]) / after_update["train/grad_norm"]
            found[name][f"read_by_{reader}"] = {"same_weights": True, "grad_norm_gap": gap}
        exported = dict(checkpoint_tensors(root / "step_000001", model_dir, parallel, 64))
        assert all(torch.equal(exported[key].cpu(), tensor) for key, tensor in saved.items()), "export"
    return found


STEPS = """
import json, sys, time
from pathlib import Path
import torch
from benchmarks.one_gpu.setup import *
model_dir, root, what = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
trainer = open_trainer(model_dir, SINGLE, 64)
batch = on_policy(trainer, random_batch([40, 25, 64, 33], SMALL["vocab_size"]))
found = trainer.checkpoints.load_newest(root, lambda sentence: None)
step = 0 if found is None else found["step"]
print(json.dumps({"resumed_at": step}), flush=True)
while step < 4:
    metrics = trainer.update(batch, objective())
    step += 1
    trainer.checkpoints.save(root, step, {"step": step}, keep=1, best=None)
    print(json.dumps({"step": step, "loss": metrics["train/loss"]}), flush=True)
    if step == 2 and what == "memory":
        torch.empty(2**50, dtype=torch.uint8, device=DEVICE)
    if step == 2 and what != "nothing":
        time.sleep(60)
"""


def kills() -> dict[str, Any]:
    """SIGKILL, SIGTERM and an allocation that no device has, after two of four steps; the same command then goes on."""
    model_dir, found = write_model(SMALL, 64), {}
    unbroken = steps(model_dir, tempfile.mkdtemp(prefix="ablate-one-gpu-"), "nothing", None)
    for what, number in (("kill", signal.SIGKILL), ("term", signal.SIGTERM), ("memory", None)):
        root = tempfile.mkdtemp(prefix="ablate-one-gpu-")
        first = steps(model_dir, root, what, number)
        second = steps(model_dir, root, "nothing", None)
        losses = [line["loss"] for line in (*first, *second) if "loss" in line]
        expected = [line["loss"] for line in unbroken if "loss" in line]
        gap = max(abs(loss - other) for loss, other in zip(losses, expected, strict=True))
        found[what] = {"resumed_at": second[0]["resumed_at"], "largest_loss_gap": gap}
        assert second[0]["resumed_at"] == 2, what
    return found


def steps(model_dir: Path, root: str, what: str, number: signal.Signals | None) -> list[dict[str, Any]]:
    """Run the steps in a process of its own, and end it with this signal after the second one."""
    process = subprocess.Popen(
        [sys.executable, "-c", STEPS, str(model_dir), root, what],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    lines = []
    for line in process.stdout:
        lines.append(json.loads(line))
        if number is not None and lines[-1].get("step") == 2:
            process.send_signal(number)
    process.wait(STEP_LIMIT_S)
    return lines
