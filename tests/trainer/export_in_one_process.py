"""Run by test_export.py in a process of its own: a checkpoint of a run, exported, sampled from by vLLM.

    python export_in_one_process.py MODEL_DIR ROOT

Writes ROOT/run (a run directory with one checkpoint) and ROOT/exported; prints as JSON on the last line the trainer's
log-probabilities of TOKENS, and what vLLM samples from the exported directory with its log-probabilities.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from omegaconf import OmegaConf

from ablate.cli import compose
from ablate.config import RunConfig, parse
from ablate.export.__main__ import main as export_main
from ablate.records import RunDirectory
from ablate.rollout.engine import Request
from ablate.rollout.open import close_engines, open_engine
from ablate.trainer.trainer import Trainer
from ablate.types import EvalRow, TrainBatch

TOKENS = tuple(range(3, 33))
STEP, CONTEXT = 7, 160
OVERRIDES = (
    "experiment=tiny",
    "setting=arithmetic",
    "objective=gspo_plus",
    "eval.pass_at=[1,2]",
    "rollout.engine.kv_cache_gib=0.125",
)


def main() -> None:
    model_dir, root = Path(sys.argv[1]), Path(sys.argv[2])
    values = compose([*OVERRIDES, f"model.path={model_dir}", f"paths.outputs={root}"])
    config = parse(values)
    run = RunDirectory(root / "run")
    run.claim(OmegaConf.to_yaml(values, resolve=True), [])
    run.begin_attempt({"commit": "0123abc", "dirty": False}, "")
    run.steps.append_eval([evaluated(problem, sample) for problem in range(4) for sample in range(2)])
    trainer_logp = train_and_save(config, model_dir, run)
    sys.argv[1:] = [f"checkpoint={run.checkpoints_path / 'latest'}", f"out={root / 'exported'}"]
    export_main()
    ids, logp = sampled(config, root / "exported")
    print(json.dumps({"trainer_logp": trainer_logp, "response_ids": ids, "vllm_logp": logp}))


def evaluated(problem: int, sample: int) -> EvalRow:
    """Both samples solve half of the problems; no sample solves the others."""
    return EvalRow(
        STEP,
        CONTEXT,
        f"p{problem}",
        "easy",
        sample,
        20,
        True,
        problem < 2,
        "accepted" if problem < 2 else "wrong_answer",
    )


def train_and_save(config: RunConfig, model_dir: Path, run: RunDirectory) -> list[float]:
    """Move every weight away from ``model_dir``'s, as training would, and write a checkpoint."""
    trainer = Trainer(
        model_dir,
        config.model,
        config.parallel,
        config.optim,
        context_length=CONTEXT,
        total_updates=1,
        temperature=1.0,
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    trainer.checkpoints.save(run.checkpoints_path, STEP, {"step": STEP}, keep=1, best=None)
    return trainer.logp(one_row(TOKENS))[0][0].tolist()


def one_row(tokens: tuple[int, ...]) -> TrainBatch:
    zero_BT = torch.zeros(1, len(tokens) - 1)
    return TrainBatch(
        torch.tensor([tokens]),
        torch.ones_like(zero_BT, dtype=torch.bool),
        zero_BT,
        zero_BT,
        torch.zeros(1),
        torch.ones(1, dtype=torch.bool),
        zero_BT,
    )


def sampled(config: RunConfig, model_dir: Path) -> tuple[list[int], list[float]]:
    engine = open_engine(model_dir, config.rollout.engine, CONTEXT, CONTEXT)
    found = []
    engine.sample([Request(0, TOKENS, 5, 20, 1.0, 1.0)], lambda _, result: found.append(result))
    close_engines()
    return list(found[0].response_ids), list(found[0].logp)


if __name__ == "__main__":
    main()
