"""A whole laboratory run: it reads checkpoints and rollouts, and writes a parquet of tidy rows and a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ablate.config import RunConfig
from ablate.data.tokenizer import load_tokenizer
from ablate.errors import UserError
from ablate.files import write_atomic
from ablate.files.parquet import write_parts
from ablate.laboratory import AS_CONFIGURED, ROWS_FILE
from ablate.laboratory.bench import BatchFor, LaboratoryConfig, Results, Variants, examine
from ablate.laboratory.recorded import recorded_batch
from ablate.laboratory.tokens import Decode, token_parts
from ablate.objectives import Objective, build, canonical
from ablate.objectives.batch import update_batch
from ablate.records import RunDirectory, checkpoint_directory, write_parquet
from ablate.records.rollouts import RecordedStep, read_step
from ablate.records.token_values import token_file
from ablate.seeding import derive_seed
from ablate.trainer.checkpoint.directory import name_of, newest_first, step_of
from ablate.trainer.open import open_trainer
from ablate.trainer.trainer import Trainer
from ablate.trainer.updates import training_part, update_seed
from ablate.types import TrainBatch
from ablate.warm_start import ensure_model

ROLLOUTS_FILE, TABLE_FILE = "rollouts.parquet", "laboratory.md"


@dataclass(frozen=True)
class CheckpointPlace:
    """A checkpoint and the rollouts that are examined with its weights."""

    root: Path
    checkpoint: int
    step: int
    moment: str


def places_of(
    run: RunDirectory, checkpoints: Sequence[Path], steps: Sequence[int], moment: str
) -> list[CheckpointPlace]:
    """Pair checkpoints with rollouts.

    Args:
        checkpoints: each a checkpoint or a run (see ``checkpoint_directory``), or a folder of checkpoints: all of them.
        steps: the steps whose rollouts are examined; if empty, the moment decides.
        moment: ``after``: the whole rollout batch that the checkpoint was just trained on, where ratios are as far from
            1 as they got. ``during``: the last update of the next batch, after the updates before it are repeated, so
            that rows and ratios are the ones that training saw.

    Raises:
        UserError: if there is no checkpoint, or no step has both a checkpoint and rollouts.
    """
    found = []
    for path in checkpoints:
        names = sorted(newest_first(path), key=step_of)
        taken = [path / name for name in names] if names else [checkpoint_directory(path)]
        found += [(checkpoint.parent, step_of(checkpoint.name)) for checkpoint in taken]
    if steps:
        return [CheckpointPlace(root, checkpoint, step, moment) for root, checkpoint in found for step in steps]
    ahead = {"after": 0, "during": 1}[moment]
    own = [CheckpointPlace(root, number, number + ahead, moment) for root, number in found]
    own = [place for place in own if run.steps.rollouts_file(place.step).exists()]
    if not own:
        numbers = [number + ahead for _, number in found]
        raise UserError(f"{run.path} has no rollouts of steps {numbers}, which moment={moment} needs: give steps=[...]")
    return own


def batches_at(
    place: CheckpointPlace,
    trainer: Trainer,
    recorded: RecordedStep,
    objective: Objective,
    run_seed: int,
    needs_entropy: bool,
) -> BatchFor:
    """Bring the trainer to the moment of the place, and return the function that builds the batch to examine.

    Args:
        objective: the run's own, with which its updates were made.
        needs_entropy: whether an objective selects by entropy. It is that of the checkpoint's weights: the old policy
            at the moment ``during``, and one step later at the moment ``after``.
    """
    trainer.checkpoints.load(place.root, place.checkpoint)
    seed = derive_seed(run_seed, "optimizer steps", place.step)
    batch = recorded_batch(recorded, objective)
    rows, index = torch.arange(batch.num_rows), 0
    entropy_BT = trainer.logp(batch)[1] if needs_entropy else None
    if place.moment == "during":
        *before, rows = recorded.rows_of_updates
        batch, index = replace(batch, entropy_BT=entropy_BT), len(before)
        if objective.needs_reference:
            batch = replace(batch, ref_logp_BT=trainer.reference_logp(batch))
        for number, of_update in enumerate(before):
            trainer.update(training_part(batch, of_update, objective, update_seed(seed, number)), objective)

    def batch_for(other: Objective) -> TrainBatch:
        batch = replace(recorded_batch(recorded, other), entropy_BT=entropy_BT)
        return update_batch(batch, rows, other, update_seed(seed, index))

    return batch_for


def built_variants(
    configs: Mapping[str, Mapping[str, Any]], toggles: Mapping[str, Mapping[str, Any]], say: Callable[[str], None]
) -> Variants:
    """Every objective as configured, and under each toggle that changes it and that it can take."""
    variants = {}
    for name, config in configs.items():
        variants[name] = {AS_CONFIGURED: build(config)}
        for toggle, changes in toggles.items():
            try:
                changed = canonical({**config, **changes}, base=lambda config=config: config)
                if changed != canonical(config):
                    variants[name][toggle] = build(changed)
            except UserError as error:
                say(f"{name} is left out of '{toggle}': {error}")
    return variants


def run_laboratory(
    run: RunDirectory,
    config: RunConfig,
    places: Sequence[CheckpointPlace],
    variants_for: Callable[[RecordedStep], Variants],
    settings: LaboratoryConfig,
    out: Path,
    say: Callable[[str], None],
    markdown: Callable[[list[dict[str, Any]]], str],
) -> list[Path]:
    """Examine every place, and write ``laboratory.parquet rollouts.parquet laboratory.md`` into ``out``.

    With ``settings.tokens`` also ``tokens/``, see ``records.token_values``.
    """
    model_dir = ensure_model(config)
    trainer = open_trainer(config, model_dir)
    decode = load_tokenizer(model_dir).decode if settings.tokens else None
    rows, rollouts, written = [], [], []
    for place in places:
        recorded = read_step(run, place.step)
        where = f"{place.root / name_of(place.checkpoint)}, {place.moment}"
        say(f"{where}: {recorded.num_rollouts} rollouts of step {place.step}")
        variants, own = variants_for(recorded), build(config.objective)
        selecting = [own, *(variant for toggles in variants.values() for variant in toggles.values())]
        needs_entropy = any(objective.needs_entropy for objective in selecting)
        batch_for = batches_at(place, trainer, recorded, own, config.seed, needs_entropy)
        results = examine(trainer, batch_for, variants, settings)
        if settings.tokens:
            written.append(write_tokens(out, place, recorded, variants, results, batch_for, decode))
        labels = {"checkpoint": place.checkpoint, "step": place.step}
        rows += [labels | entry for entry in results.rows]
        rollouts += [labels | entry for entry in results.rollouts]
    write_parquet(out / ROWS_FILE, rows)
    write_parquet(out / ROLLOUTS_FILE, rollouts)
    write_atomic(out / TABLE_FILE, f"# Laboratory: {run.path}\n\n{markdown(rows)}")
    return [*(out / name for name in (ROWS_FILE, ROLLOUTS_FILE, TABLE_FILE)), *written]


def write_tokens(
    out: Path,
    place: CheckpointPlace,
    recorded: RecordedStep,
    variants: Variants,
    results: Results,
    batch_for: BatchFor,
    decode: Decode,
) -> Path:
    """Write what each objective as configured does with each token of the place's batch."""
    rows = range(recorded.num_rollouts) if place.moment == "after" else recorded.rows_of_updates[-1].tolist()
    objectives = {name: toggles[AS_CONFIGURED] for name, toggles in variants.items()}
    path = token_file(out, place.step, place.checkpoint)
    parts = token_parts(recorded, rows, results.logp_BT, objectives, results.gradients, batch_for, decode)
    write_parts(path, parts)
    return path
