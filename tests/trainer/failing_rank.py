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
from ablate.trainer.parallel.leader import LEADER, broadcast_from_leader, open_leader_group

SHORT_S = 8  # within which a busy machine runs both ranks


def main() -> None:
    (what,) = sys.argv[1:]
    dist.init_process_group("gloo", timeout=timedelta(seconds=SHORT_S if what in ("hung", "slow_leader") else 60))
    silence_s = 5 if what in ("killed_while_sampling", "stopped_while_sampling") else 60
    with ending_together(Watch(dist.get_rank(), dist.get_world_size(), silence_s)):
        if dist.get_rank() == (0 if what.startswith("leader") else 1):
            go_wrong(what.removeprefix("leader_"))
        if what == "slow_leader":
            wait_for_the_leader()
        if what.endswith("_while_sampling"):
            time.sleep(600)  # the leader is in its engine, far from any collective
        dist.barrier()


def wait_for_the_leader() -> None:
    group = open_leader_group(60)
    if dist.get_rank() == LEADER:
        time.sleep(SHORT_S + 2)
    print(broadcast_from_leader(f"sampled by rank {dist.get_rank()}", group))


def go_wrong(what: str) -> None:
    if what.startswith("exception"):
        raise ValueError("the cause of it all")
    if what.startswith("mistake"):
        raise UserError("a rule, a value and the fix")
    if what == "hung":
        time.sleep(600)
    if what.startswith("killed"):
        os.kill(os.getpid(), signal.SIGKILL)
    if what.startswith("stopped"):
        os.kill(os.getpid(), signal.SIGSTOP)


if __name__ == "__main__":
    run_main(main)
