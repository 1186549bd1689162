"""One rank of a job in which something goes wrong: ``python failing_rank.py WHAT``. Without Megatron, to start fast."""

from __future__ import annotations

import os
import signal
import sys
import time
from datetime import timedelta

import torch.distributed as dist

from ablate.cli import run_main
from ablate.errors import UserError
from ablate.trainer.parallel.failure import Watch, ending_together

CULPRIT = 1


def main() -> None:
    (what,) = sys.argv[1:]
    dist.init_process_group("gloo", timeout=timedelta(seconds=4 if what == "hung" else 60))
    with ending_together(Watch(dist.get_rank(), dist.get_world_size(), silence_s=5)):
        if dist.get_rank() == CULPRIT:
            go_wrong(what)
        if what.endswith("_while_sampling"):
            time.sleep(600)  # the leader is in its engine, far from any collective
        dist.barrier()


def go_wrong(what: str) -> None:
    if what.startswith("exception"):
        raise ValueError("the cause of it all")
    if what.startswith("mistake"):
        raise UserError("a rule, a value and the fix")
    if what == "hung":
        time.sleep(600)
    if what.startswith("killed"):
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    run_main(main)
