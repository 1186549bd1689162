"""The weights of a checkpoint in one process, whatever layout wrote it, without an optimizer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from ablate.config import ParallelConfig
from ablate.errors import UserError
from ablate.models.architecture import read_architecture
from ablate.trainer.checkpoint.integrity import check_is_of_run, find_damage
from ablate.trainer.checkpoint.shards import read_weights
from ablate.trainer.model.policy import build_model
from ablate.trainer.model.weights import hf_tensors
from ablate.trainer.parallel.world import open_world


def checkpoint_tensors(
    checkpoint: Path, model_dir: Path, parallel: ParallelConfig, context_length: int
) -> Iterator[tuple[str, Tensor]]:
    """Yield (Hugging Face name, whole tensor) for every weight.

    Args:
        model_dir: the Hugging Face directory that training started from.
        parallel: of the run; of its layout nothing but the precision matters.

    Raises:
        UserError: when the checkpoint is damaged or of another run, or this process is one of several.
    """
    parallel = parallel.alone()
    world = open_world(parallel)
    check_is_of_run(checkpoint)
    damage = find_damage(checkpoint, world)
    if damage is not None:
        raise UserError(f"{checkpoint} cannot be read: {damage}: name another checkpoint")
    architecture = read_architecture(model_dir)
    model = build_model(architecture, parallel, None, context_length, world.device)
    read_weights(model, checkpoint)
    yield from hf_tensors(model, architecture, world)
