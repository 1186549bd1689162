"""A whole laboratory run: checkpoints and their rollouts in, a parquet of tidy rows and a table out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.config import RunConfig
from ablate.errors import UserError
from ablate.laboratory.bench import AS_CONFIGURED, Settings, Variants, examine
from ablate.laboratory.recorded import RecordedStep, read_step
from ablate.laboratory.table import markdown
from ablate.objectives import build
from ablate.records import RunDirectory, write_atomic, write_parquet
from ablate.trainer.checkpoint import newest_first, step_of
from ablate.trainer.step import Trainer
from ablate.warm_start import ensure_model

ROWS_FILE, ROLLOUTS_FILE, TABLE_FILE = "laboratory.parquet", "rollouts.parquet", "laboratory.md"


@dataclass(frozen=True)
class Place:
    """A checkpoint and the rollouts that are looked at with its weights."""

    root: Path
    checkpoint: int
    step: int


def places_of(run: RunDirectory, checkpoints: Sequence[Path], steps: Sequence[int]) -> list[Place]:
    """Pair checkpoints with rollouts.

    Args:
        checkpoints: each one checkpoint (``.../step_000040``), a folder of them, or a run.
        steps: whose rollouts; none: each checkpoint's own step, whose batch it was just trained on, so that ratios are
            as far from 1 as they were at the end of that step.

    Raises:
        UserError: when there is nothing to load, or no step has both.
    """
    found = []
    for path in checkpoints:
        if path.name.startswith("step_"):
            names, root = [path.name] if path.is_dir() else [], path.parent
        else:
            root = RunDirectory(path).checkpoints_path if RunDirectory(path).config_path.exists() else path
            names = newest_first(root)
        if not names:
            raise UserError(f"checkpoint={path} holds no checkpoint: name a run, its checkpoints folder or one of them")
        found += [(root, step) for step in sorted(map(step_of, names))]
    if steps:
        return [Place(root, checkpoint, step) for root, checkpoint in found for step in steps]
    own = [Place(root, step, step) for root, step in found if run.rollouts_file(step).exists()]
    if not own:
        numbers = [step for _, step in found]
        raise UserError(f"no checkpoint of {numbers} has rollouts of its own step in {run.path}: give steps=[...]")
    return own


def open_trainer(config: RunConfig) -> Trainer:
    """The run's trainer with its starting weights; a checkpoint's are loaded over them."""
    stages = config.context.stages
    return Trainer(
        ensure_model(config),
        config.model,
        config.parallel,
        config.optim,
        context_length=max(stage.length for stage in stages),
        total_optimizer_steps=sum(stage.steps for stage in stages) * config.optim.steps_per_batch,
        temperature=config.rollout.temperature,
    )


def built_variants(
    configs: Mapping[str, Mapping[str, Any]], toggles: Mapping[str, Mapping[str, Any]], say: Callable[[str], None]
) -> Variants:
    """Every objective as configured and under each toggle that changes it and that it can take."""
    variants = {}
    for name, config in configs.items():
        variants[name] = {AS_CONFIGURED: build(config)}
        for toggle, changes in toggles.items():
            changed = {**config, **changes}
            if changed != dict(config):
                try:
                    variants[name][toggle] = build(changed)
                except UserError as error:
                    say(f"{name} is left out of '{toggle}': {error}")
    return variants


def run_laboratory(
    run: RunDirectory,
    config: RunConfig,
    places: Sequence[Place],
    variants_for: Callable[[RecordedStep], Variants],
    settings: Settings,
    out: Path,
    say: Callable[[str], None],
) -> list[Path]:
    """Examine every place, and write ``laboratory.parquet rollouts.parquet laboratory.md`` into ``out``."""
    trainer = open_trainer(config)
    rows, rollouts = [], []
    for place in places:
        recorded = read_step(run, place.step)
        trainer.load(place.root, place.checkpoint)
        say(f"checkpoint {place.checkpoint}: {recorded.num_rollouts} rollouts of step {place.step}")
        results = examine(trainer, recorded, variants_for(recorded), settings)
        labels = {"checkpoint": place.checkpoint, "step": place.step}
        rows += [labels | part for part in results.rows]
        rollouts += [labels | part for part in results.rollouts]
    write_parquet(out / ROWS_FILE, rows)
    write_parquet(out / ROLLOUTS_FILE, rollouts)
    write_atomic(out / TABLE_FILE, f"# Laboratory: {run.path}\n\n{markdown(rows)}")
    return [out / name for name in (ROWS_FILE, ROLLOUTS_FILE, TABLE_FILE)]
