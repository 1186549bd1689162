"""``python -m ablate.evaluate``: Pass@k of a checkpoint or of a Hugging Face model, with intervals.

    python -m ablate.evaluate checkpoint=outputs/tiny/grpo/seed0/checkpoints/step_000040 eval.samples_per_problem=16
    python -m ablate.evaluate model.path=HF_DIR data.eval=problems.jsonl out=eval.parquet
    python -m ablate.evaluate samples=FILE data=livecodebench eval=lcb verify.second_comparison=lcb
    python -m ablate.evaluate eval=pass_counts data.eval=STORE out=pass_counts.parquet    # for data.pass_counts

checkpoint=DIR is a checkpoint, or a run: its best checkpoint, or its newest as long as none is known to be best. The
configuration is then the run's own config.yaml; without checkpoint=DIR it is the one that ablate.train would compose.
Every other word overrides it. The command's own keys are checkpoint=DIR, out=FILE (rows as in eval.parquet),
metrics=true (also print every metric by its name), samples_out=FILE and samples=FILE.

samples_out=FILE keeps the programs of the one context that is evaluated, in the format that LiveCodeBench's custom
evaluation reads: [{"question_id": ID, "code_list": [CODE, ...]}, ...]. samples=FILE scores a file of this format,
from any sampler; it needs no model, and every problem of data.eval must have at least one sample.
verify.second_comparison=lcb also gives the score by LiveCodeBench's comparison.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ablate.cli import compose, read_words, recorded, run_main
from ablate.errors import UserError

if TYPE_CHECKING:
    from ablate.config import RunConfig
    from ablate.types import EvalRow, RolloutGroup

OWN_KEYS = ("checkpoint", "out", "samples", "samples_out", "metrics")
OF_SAMPLES = ("eval/pass@", "eval/second_", "eval/verdicts_", "eval/infra")  # the metrics that need no tokens


def evaluate_checkpoint(config: RunConfig, checkpoint: Path | None, samples_out: Path | None = None) -> list[EvalRow]:
    """Sample every evaluation problem at all ``eval.contexts``, in one process whatever layout the run had."""
    from ablate.evals.samples_file import write_samples
    from ablate.rollout.weights.shared import SharedHandOff
    from ablate.sampling import open_sampling
    from ablate.trainer.checkpoint.directory import step_of
    from ablate.trainer.checkpoint.whole_weights import checkpoint_tensors
    from ablate.verify.shared import shared_verifier
    from ablate.warm_start import ensure_model

    verifier = shared_verifier(config.verify)
    model_dir = ensure_model(config)
    length = config.context.longest
    step, weights = 0, model_dir
    if checkpoint is not None:
        step = step_of(checkpoint.name)
        tensors = checkpoint_tensors(checkpoint, model_dir, config.parallel, length)
        weights = [(name, tensor.cpu()) for name, tensor in tensors]  # only the engine uses a GPU
    sampling = open_sampling(config, model_dir, verifier)
    rows: list[EvalRow] = []
    programs: dict[str, list[str]] = {}

    def keep(draw: RolloutGroup) -> None:
        programs[draw.problem.id] = [verifier.program_of(each.text) or "" for each in draw.completions]

    engine = config.rollout.engine
    shared = None
    if engine.share_gpus:
        by_file = engine.weight_transfer == "file"
        shared = SharedHandOff(engine.bucket_mib * 1024**2, lambda own: [own], 0, by_file=by_file)
    for context in config.eval.contexts:
        is_shared = shared is not None and checkpoint is not None
        sampling.load_weights(context.length, (0, step), shared.messages(weights) if is_shared else weights)
        rows += sampling.evaluate(step, context.length, on_verified=keep)
    if samples_out is not None:
        write_samples(samples_out, programs)
    return rows


def evaluate_samples(config: RunConfig, path: Path) -> list[EvalRow]:
    """Verify the programs of a samples file; nothing is sampled."""
    from ablate.data.problems import load_problems
    from ablate.evals.samples_file import foreign_row, read_samples_file
    from ablate.evals.scores import check_count
    from ablate.verify.shared import shared_verifier

    problems = load_problems(config.data.eval)
    check_count(config, len(problems))
    programs = read_samples_file(path, problems)
    verifier = shared_verifier(config.verify)
    futures = [
        (problem, sample, verifier.submit(problem, program))
        for problem in problems
        for sample, program in enumerate(programs[problem.id])
    ]
    return [foreign_row(problem, sample, future.result()) for problem, sample, future in futures]


def check_own(own: Mapping[str, str], config: RunConfig) -> None:
    """Raise ``UserError`` for own keys that exclude each other."""
    for key in ("checkpoint", "samples_out"):
        if "samples" in own and key in own:
            raise UserError(f"samples=FILE is scored without sampling: leave {key} out")
    if "samples_out" in own and len(config.eval.contexts) != 1:
        raise UserError(
            f"samples_out holds the samples of one context, and eval.contexts has {len(config.eval.contexts)}: "
            "set eval.contexts=[{length: TOKENS, every: 0}]"
        )


def main() -> None:
    if len(sys.argv) == 1:  # nothing is named, and the default model says nothing about anybody's run
        sys.argv.append("--help")
    words = read_words(__doc__, OWN_KEYS)
    own, overrides = words.own, words.overrides
    from ablate.check_run import check_files
    from ablate.config import parse
    from ablate.data.pass_counts import counted_under
    from ablate.evals.scores import summarise
    from ablate.records import checkpoint_directory, write_parquet
    from ablate.warm_start import ensure_model
    from ablate_analysis.benchmark_table import benchmark_table

    for key in ("out", "samples_out"):
        if key in own and Path(own[key]).exists():
            raise UserError(f"{key}={own[key]} exists already: name a new file, or remove it")
    checkpoint = checkpoint_directory(Path(own["checkpoint"])) if "checkpoint" in own else None
    values = recorded(checkpoint.resolve().parents[1] / "config.yaml", overrides) if checkpoint else compose(overrides)
    config = parse(values)
    check_own(own, config)
    if "samples" not in own:
        check_files(config)
    if checkpoint is not None:
        print(f"checkpoint: {checkpoint}")
    if "samples" in own:
        rows = evaluate_samples(config, Path(own["samples"]))
    else:
        rows = evaluate_checkpoint(config, checkpoint, Path(own["samples_out"]) if "samples_out" in own else None)
    print(benchmark_table(rows, config.eval))
    for name, value in summarise(rows, config.eval).items() if own.get("metrics") == "true" else ():
        if "samples" not in own or name.startswith(OF_SAMPLES):
            print(f"{name:40} {value:.4f}")
    if "out" in own:
        facts = None if "samples" in own else counted_under(config, ensure_model(config), checkpoint)
        write_parquet(Path(own["out"]), [asdict(row) for row in rows], facts)
        print(f"a row for each sample: {own['out']}")


if __name__ == "__main__":
    run_main(main)
