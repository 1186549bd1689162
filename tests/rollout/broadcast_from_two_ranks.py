"""Run by test_server.py as two tensor-parallel ranks: give the trainer's weights to servers, of which one hangs.

    RANK=.. WORLD_SIZE=2 MASTER_ADDR=.. MASTER_PORT=.. python broadcast_from_two_ranks.py MODEL_DIR URL URL PID OUT

PID is the process group of the second server: it is stopped when half of the tensors are gathered. Writes to OUT what
the servers then sample, and which of them are left.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from ablate.cli import compose
from ablate.config import parse
from ablate.display import Display
from ablate.records import RunDirectory
from ablate.rollout.engine import Request
from ablate.sampling import Sampling
from ablate.session import Session
from ablate.tracking import Mirror
from ablate.trainer.open import open_trainer

CONTEXT = 160
NUM_TENSORS_BEFORE = 20


def main(model_dir: str, first_url: str, second_url: str, pid: str, out: str) -> None:
    words = [
        f"model.path={model_dir}",
        f"model.original_context={CONTEXT}",
        f"context.length={CONTEXT}",
        f"eval.contexts=[{{length: {CONTEXT}, every: 0}}]",
        f"eval.select_at={CONTEXT}",
        "parallel=tp2",
        "rollout.engine.placement=servers",
        f"rollout.engine.urls=[{first_url},{second_url}]",
        "rollout.engine.silence_s=5",
        "rollout.engine.bucket_mib=0.05",
    ]
    config = parse(compose(words))
    trainer = open_trainer(config, Path(model_dir))
    is_leader = trainer.world.is_leader
    sampling = Sampling(config, Path(model_dir), str, [], [], [], None) if is_leader else None
    run = RunDirectory(Path(out).parent / "run")
    if is_leader:
        run.path.mkdir()  # for its trace
    session = Session(config, run, None, trainer, sampling, Display(), Mirror(), [])
    stop_a_server_in_the_middle(trainer, int(pid))
    session.update_engine((0, 1), CONTEXT)
    if is_leader:
        results = {}
        engine = sampling.engine(CONTEXT)
        requests = [Request(index, tuple(range(3, 20 + index)), 7 + index, 20, 1.0, 1.0) for index in range(6)]
        engine.sample(requests, results.__setitem__)
        sampled = [list(results[request.key].response_ids) for request in requests]
        Path(out).write_text(json.dumps({"sampled": sampled, "live": engine._pool.live}))


def stop_a_server_in_the_middle(trainer, pid: int) -> None:
    gather = trainer.gather_weights
    num_gathered = 0

    def watched(tensors):
        nonlocal num_gathered
        for each in tensors:
            num_gathered += 1
            if num_gathered == NUM_TENSORS_BEFORE:
                os.killpg(pid, signal.SIGSTOP)
            yield each

    trainer.gather_weights = lambda sink: gather(sink and (lambda tensors: sink(watched(tensors))))


if __name__ == "__main__":
    main(*sys.argv[1:])
