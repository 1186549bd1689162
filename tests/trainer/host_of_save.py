"""One rank that saves once: ``python host_of_save.py MODEL LAYOUT OUT`` writes the bytes that this took to OUT/RANK.

What counts is the growth of the resident memory up to its peak.
"""

from __future__ import annotations

import ctypes
import re
import sys
from pathlib import Path

import cases
import torch.distributed as dist

from ablate.trainer.batching import make_batch


def resident_bytes(name: str) -> int:
    return int(re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024


M_MMAP_THRESHOLD = -3  # malloc.h


def main() -> None:
    # Without this, glibc keeps freed blocks of up to 32 MB, which at the size of a real model go back to the system.
    ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 2**20)
    model_dir, layout, out = sys.argv[1:]
    objective = cases.objective_named("grpo")
    trainer = cases.open_trainer(Path(model_dir), cases.layout_named(layout))
    batch = make_batch(cases.rollout_groups(), objective)
    trainer.update(cases.off_policy_batch(objective, trainer.logp(batch)[0]), objective)
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far: proc(5)
    before = resident_bytes("VmRSS")
    trainer.checkpoints.save(Path(out) / "checkpoints", 1, {}, keep=1, best=None, asynchronous=True)
    trainer.checkpoints.finish_save()
    (Path(out) / str(dist.get_rank())).write_text(str(resident_bytes("VmHWM") - before))


if __name__ == "__main__":
    main()
