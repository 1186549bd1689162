"""``python -m ablate.evaluate``: Pass@k of a checkpoint or of a Hugging Face model, with intervals.

    python -m ablate.evaluate checkpoint=outputs/tiny/grpo/seed0/checkpoints/step_000040 eval.samples_per_problem=16
    python -m ablate.evaluate model.path=HF_DIR data.eval=problems.jsonl out=eval.parquet

checkpoint=DIR is a checkpoint, or a run: its best checkpoint, or its newest as long as none is known to be best. The
configuration is then the run's own config.yaml; without checkpoint=DIR it is the one that ablate.train would compose.
Every other word overrides it. The command's own keys are checkpoint=DIR and out=FILE (rows as in eval.parquet).
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ablate.cli import compose, read_words, recorded, run_main
from ablate.errors import UserError

if TYPE_CHECKING:
    from ablate.config import RunConfig
    from ablate.types import EvalRow

OWN_KEYS = ("checkpoint", "out")


def evaluate_checkpoint(config: RunConfig, checkpoint: Path | None) -> list[EvalRow]:
    """Sample every evaluation problem at all ``eval.contexts``, in one process whatever layout the run had."""
    from ablate.sampling import open_sampling
    from ablate.trainer.checkpoint.directory import step_of
    from ablate.trainer.checkpoint.whole_weights import checkpoint_tensors
    from ablate.verify.shared import shared_verifier
    from ablate.warm_start import ensure_model

    verifier = shared_verifier(config.verify)
    model_dir = ensure_model(config)
    length = config.context.stages[-1].length
    step, weights = 0, model_dir
    if checkpoint is not None:
        step = step_of(checkpoint.name)
        tensors = checkpoint_tensors(checkpoint, model_dir, config.parallel, length)
        weights = [(name, tensor.cpu()) for name, tensor in tensors]  # only the engine uses a GPU
    sampling = open_sampling(config, model_dir, verifier)
    rows: list[EvalRow] = []
    for context in config.eval.contexts:
        sampling.load_weights(context.length, (0, step), weights)
        rows += sampling.evaluate(step, context.length)
    return rows


def main() -> None:
    words = read_words(__doc__, OWN_KEYS)
    own, overrides = words.own, words.overrides
    from ablate.check_run import check_files
    from ablate.config import parse
    from ablate.evals.scores import summarise
    from ablate.evals.table import benchmark_table
    from ablate.records import checkpoint_directory, write_parquet

    if "out" in own and Path(own["out"]).exists():
        raise UserError(f"out={own['out']} exists already: name a new file, or remove it")
    checkpoint = checkpoint_directory(Path(own["checkpoint"])) if "checkpoint" in own else None
    values = recorded(checkpoint.resolve().parents[1] / "config.yaml", overrides) if checkpoint else compose(overrides)
    config = parse(values)
    check_files(config)
    if checkpoint is not None:
        print(f"checkpoint: {checkpoint}")
    rows = evaluate_checkpoint(config, checkpoint)
    for name, value in summarise(rows, config.eval).items():
        print(f"{name:40} {value:.4f}")
    print(benchmark_table(rows, config.eval))
    if "out" in own:
        write_parquet(Path(own["out"]), [asdict(row) for row in rows])


if __name__ == "__main__":
    run_main(main)
