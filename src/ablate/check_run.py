"""What can be known of a run before anything slow starts. ``train``, ``plan`` and ``submit.sh`` use it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.cli import objective_config, searchpath_of
from ablate.config import RunConfig, parse
from ablate.config.checks import check_scored
from ablate.errors import UserError

if TYPE_CHECKING:
    from ablate.estimate.host import Machine
    from ablate.estimate.shape import Shape


def check_run(
    values: Any,
    hydra: Any,
    num_processes: int | None = None,
    trains_here: bool = False,
    machine: Machine | None = None,
) -> RunConfig:
    """Return the checked configuration of a run whose objective builds, and which fits its layout and its machine.

    Args:
        values: what Hydra composed. Its objective and cell get the one spelling that records hold.
        hydra: Hydra's own section: the file of ``conf/objective`` that was chosen, and where it was searched.
        num_processes: the processes that will train; None while that is not known.
        trains_here: whether training starts now and on this machine, so that files and packages must be there. Before
            that they may be fetched (see ``missing_files``).
        machine: where the run will train; None while that is not known.

    Raises:
        UserError: naming the first rule that the configuration breaks.
    """
    from ablate.estimate.machine import check_machine
    from ablate.objectives.laws.trial import check_objective
    from ablate.trainer.parallel.layout import check_layout, check_world_size
    from ablate.verify.choices import check_verify

    settle_spelling(values, hydra)
    config = parse(values)
    check_scored(config)
    check_objective(config.objective, config.rollout.samples_per_prompt)
    check_verify(config.verify)
    if machine is not None:
        check_machine(config, machine, known_shape(config))
    parallel = config.parallel
    model_size = parallel.tensor * parallel.pipeline * parallel.context
    check_world_size(parallel, num_processes or parallel.world_size or model_size)
    architecture = known_architecture(config)
    if architecture is not None:
        check_layout(architecture, parallel, trains_here)
        check_user_settings(config, architecture)
    if trains_here:
        check_files(config)
    return config


def check_user_settings(config: RunConfig, architecture: Any) -> None:
    """Raise ``UserError`` for an argument that vLLM refuses, or a field that Megatron refuses; imports them for it."""
    if config.rollout.engine.args:
        from ablate.rollout.vllm.user_arguments import checked_arguments

        checked_arguments(config.rollout.engine)
    if config.parallel.megatron:
        from ablate.trainer.model.policy import transformer_config
        from ablate.trainer.optimizer import optimizer_config

        transformer_config(architecture, config.parallel, None)
        optimizer_config(config.parallel, config.optim)


def settle_spelling(values: Any, hydra: Any) -> None:
    """Give the objective its one spelling, and then name the cell, in place: `off` and `train` are the same cell.

    A part outside is recorded by its absolute path; in the cell's name, which is a directory, it is "file.py:part".
    """
    from omegaconf import DictConfig, OmegaConf

    from ablate.objectives import SLOTS, canonical

    if not isinstance(values.get("objective"), DictConfig):
        return  # parse says what is wrong
    objective = canonical(
        OmegaConf.to_container(values.objective, resolve=True),
        base=lambda: objective_config(hydra.runtime.choices.objective, searchpath_of(hydra.overrides.hydra)),
    )
    short = {key: Path(value).name if key in SLOTS else value for key, value in objective.items()}
    OmegaConf.update(values, "objective", short, merge=False, force_add=True)
    cell = values.cell
    OmegaConf.update(values, "objective", objective, merge=False, force_add=True)
    values.cell = cell


def objective_with(name: str, overrides: Sequence[str]) -> dict[str, Any]:
    """The configuration of an objective with overrides, as a run records it."""
    from ablate.objectives import canonical

    return canonical(objective_config(name, overrides), base=lambda: objective_config(name, searchpath_of(overrides)))


def known_architecture(config: RunConfig) -> Any:
    """The shape of config.json at model.path, else what conf/model pins; None where neither is there yet.

    Raises:
        UserError: when the model is of no family that can be trained, or config.json is not what conf/model pins. The
            pin of a model with ``build`` is what would be built; a path replaces that model.
    """
    from ablate.models.architecture import check_same, pinned_architecture, read_architecture

    pinned = found = None
    if config.model.architecture is not None:
        pinned = pinned_architecture(config.model.architecture)
    if config.model.path is not None and (Path(config.model.path) / "config.json").is_file():
        found = read_architecture(Path(config.model.path))
    if pinned is not None and found is not None and config.model.build is None:
        check_same(pinned, found, Path(config.model.path))
    return found or pinned


def known_shape(config: RunConfig) -> Shape | None:
    """The shape of the model for the estimate; None where it is not known yet."""
    from ablate.estimate.shape import shape_of

    architecture = known_architecture(config)
    return None if architecture is None else shape_of(vars(architecture))


def this_machine() -> Machine:
    """The machine of this process, in the job that torchrun has started, if it has."""
    import torch

    from ablate.estimate.host import Machine

    num_processes = int(os.environ.get("WORLD_SIZE", "1"))
    of_node = int(os.environ.get("LOCAL_WORLD_SIZE", num_processes))
    has_gpus = torch.cuda.is_available()
    return Machine(
        nodes=max(1, num_processes // of_node),
        processes_per_node=of_node,
        gpus_per_node=torch.cuda.device_count() if has_gpus else 0,
        gpu_bytes=torch.cuda.get_device_properties(0).total_memory if has_gpus else None,
        is_here=True,
    )


def missing_files(config: RunConfig) -> list[str]:
    """A sentence for each file of data or model, or of a fork's parent, that the run needs and that is not there."""
    from ablate.data.problems import problems_path
    from ablate.records.checkpoints import missing_fork_point

    sentences = []
    for where in dict.fromkeys(
        (config.data.train, config.data.eval, *([config.eval.select_on] if config.eval.select_on else []))
    ):
        try:
            problems_path(where)
        except UserError as error:
            sentences.append(str(error))
    if config.model.path is not None and not (Path(config.model.path) / "config.json").is_file():
        sentences.append(f"model.path={config.model.path} has no config.json: fetch the model, or change model.path")
    if (sentence := missing_fork_point(config)) is not None:
        sentences.append(sentence)
    return sentences


def check_files(config: RunConfig) -> None:
    """Raise ``UserError`` for the first file that is missing."""
    for sentence in missing_files(config):
        raise UserError(sentence)
