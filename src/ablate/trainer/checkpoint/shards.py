"""The state of a trainer as a distributed checkpoint of Megatron (torch_dist): weights, optimizer, schedule."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ablate.trainer import cpu
from ablate.trainer.checkpoint.writing import Writing, begin_writing, storage_of
from ablate.trainer.model.policy import PolicyModel

cpu.import_megatron()

from megatron.core import dist_checkpointing  # noqa: E402
from megatron.core.optimizer import MegatronOptimizer  # noqa: E402
from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer  # noqa: E402
from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler  # noqa: E402

EXTRA_STATE = "_extra_state"  # torch.nn.Module's name for what get_extra_state returns
# This sharding gathers the optimizer's shards into whole parameters, so that any layout can load them.
METADATA = {"distrib_optim_sharding_type": "fully_reshardable", "chained_optim_avoid_prefix": True}


@dataclass(frozen=True)
class TrainingState:
    """The parts of a trainer that a checkpoint restores, and the precision of its weights."""

    model: PolicyModel
    optimizer: MegatronOptimizer
    scheduler: OptimizerParamScheduler
    precision: str


def write(state: TrainingState, directory: Path, asynchronous: bool) -> Writing:
    """Begin to write the state to ``directory``, which exists and is empty. Every rank calls it.

    Args:
        asynchronous: the state may change before the files are written, so a copy of it is written.
    """
    with cpu.answering_for_cuda():
        sharded = sharded_state(state, is_loading=False)
        return begin_writing(sharded, directory, METADATA, changing=changing_storages(state) if asynchronous else ())


def changing_storages(state: TrainingState) -> set[int]:
    """The storages on the CPU that an update changes: on a GPU little more than counts of steps."""
    tensors = [*state.model.parameters(), *state.model.buffers()]
    for optimizer in chained_optimizers(state):
        states = optimizer.optimizer.state.values()
        tensors += [value for each in states for value in each.values() if isinstance(value, torch.Tensor)]
        tensors += [parameter for group in optimizer.optimizer.param_groups for parameter in group["params"]]
    return {storage_of(tensor) for tensor in tensors if tensor.device.type == "cpu"}


def read(state: TrainingState, directory: Path) -> None:
    """Load a checkpoint of the same model, written under any layout and by either kind of optimizer, into ``state``."""
    num_steps = dist_checkpointing.load_common_state_dict(str(directory))["num_optimizer_steps"]
    with cpu.answering_for_cuda():
        if num_steps == 0:
            read_untrained(state, directory)
        else:
            read_trained(state, directory, num_steps)
    state.scheduler.num_steps = num_steps
    state.scheduler.step(increment=0)  # sets the learning rate of this place in the schedule


def read_weights(model: PolicyModel, directory: Path) -> None:
    """Load only the weights (for ``ablate.export`` and ``ablate.evaluate``, which have no optimizer)."""
    with cpu.answering_for_cuda():
        load_weights(model, dist_checkpointing.load({"model": sharded_weights(model)}, str(directory))["model"])


def read_untrained(state: TrainingState, directory: Path) -> None:
    """Load a checkpoint from before the first update: it has only weights."""
    load_weights(state.model, dist_checkpointing.load({"model": sharded_weights(state.model)}, str(directory))["model"])
    for optimizer in chained_optimizers(state):
        optimizer.optimizer.state.clear()
    state.optimizer.reload_model_params()


def read_trained(state: TrainingState, directory: Path, num_steps: int) -> None:
    is_split, was_split = bool(distributed_optimizers(state)), has_split_optimizer(directory)
    for optimizer in distributed_optimizers(state):
        # Loading needs existing states to overwrite.
        optimizer._init_optimizer_states_with_dummy_values()
        accept_missing_states(optimizer)
    wanted = sharded_state(state, is_loading=True)
    settings = param_groups(wanted["optimizer"])
    if is_split != was_split:
        read_main_weights_elsewhere(wanted["optimizer"], is_split, state.precision)
    loaded = dist_checkpointing.load(wanted, str(directory))
    if is_split != was_split:
        loaded["optimizer"] = restated(loaded["optimizer"], settings, is_split)
    if not is_split:
        count_steps(loaded["optimizer"], counts_in_groups(state.optimizer), num_steps)
    load_weights(state.model, loaded["model"])
    state.optimizer.load_state_dict(loaded["optimizer"])
    for optimizer in distributed_optimizers(state):
        restore_step_count(optimizer, num_steps)


def has_split_optimizer(directory: Path) -> bool:
    """Return whether a distributed optimizer wrote the checkpoint."""
    return "param_state_sharding_type" in dist_checkpointing.load_common_state_dict(str(directory))["optimizer"]


def param_groups(optimizer_state: dict[str, Any]) -> list[dict[str, Any]]:
    groups = optimizer_state.get("optimizer", optimizer_state)["param_groups"]
    # Megatron wraps the lists of parameters, which belong to one layout only.
    return [{name: getattr(value, "obj", value) for name, value in group.items()} for group in groups]


def read_main_weights_elsewhere(optimizer_state: dict[str, Any], is_split: bool, precision: str) -> None:
    """Point the optimizer's fp32 weights at the keys under which the other kind of optimizer wrote them.

    The distributed optimizer writes them as ``param``. The plain optimizer writes them as ``fp32_param``, but not in
    fp32: there they are the weights of the model, whose memory the distributed optimizer shares.
    """
    for tensors in optimizer_state["param_state"].values() if is_split else ():
        if precision == "fp32":
            del tensors["param"]
        else:
            tensors["param"].key = tensors["param"].key.replace("optimizer.state.param.", "optimizer.state.fp32_param.")
    for group in optimizer_state.get("fp32_from_fp16_params", []):
        for tensor in group:
            tensor.key = tensor.key.replace("optimizer.state.fp32_param.", "optimizer.state.param.")


def restated(loaded: dict[str, Any], settings: list[dict[str, Any]], is_split: bool) -> dict[str, Any]:
    """Convert loaded optimizer state into the form of the other kind of optimizer, with the settings of the reader."""
    if is_split:
        sharding = METADATA["distrib_optim_sharding_type"]
        groups = {"param_groups": settings}
        return {"optimizer": groups, "param_state": loaded["param_state"], "param_state_sharding_type": sharding}
    main = {name: loaded[name] for name in ("fp32_from_fp16_params",) if name in loaded}
    states = loaded["optimizer"]["state"] if main else loaded["state"]
    own = {"state": states, "param_groups": settings}
    return {"optimizer": own, **main} if main else own


def counts_in_groups(optimizer: MegatronOptimizer) -> bool:
    """Transformer Engine's Adam counts steps once per group of parameters; torch's Adam counts them per parameter."""
    return not isinstance(optimizer.optimizer, torch.optim.Adam | torch.optim.AdamW)


def count_steps(loaded: dict[str, Any], in_groups: bool, num_steps: int) -> None:
    """Store the number of steps where the reader's Adam expects it, whichever Adam wrote the checkpoint."""
    own = loaded.get("optimizer", loaded)
    own["state"].pop("common_step", None)
    for group in own["param_groups"]:
        group.pop("step", None)
    if in_groups:
        for group in own["param_groups"]:
            group["step"] = num_steps
    else:
        own["state"]["common_step"] = torch.tensor(float(num_steps))


# Megatron's optimizer with its state on the host names them in every group, and a file with a class is not read again.
OFFLOAD_CLASSES = {"cpu_optimizer_cls", "gpu_optimizer_cls"}


def sharded_state(state: TrainingState, is_loading: bool) -> dict[str, Any]:
    model, num_steps = sharded_weights(state.model), state.scheduler.num_steps
    if num_steps == 0 and not is_loading:
        return {"model": model, "num_optimizer_steps": 0}
    optimizer = state.optimizer.sharded_state_dict(model, is_loading=is_loading, metadata=dict(METADATA))
    for group in optimizer.get("optimizer", optimizer)["param_groups"]:
        for name in OFFLOAD_CLASSES & group.keys():
            del group[name]
    return {"model": model, "optimizer": optimizer, "num_optimizer_steps": num_steps}


def sharded_weights(model: PolicyModel) -> dict[str, Any]:
    """Return the weights without the extra states of Transformer Engine's layers.

    Those hold the history of delayed FP8 scaling, which ``parallel.fp8_recipe`` does not offer. Other layers have none,
    so that a checkpoint that held them would need the layers that wrote it.
    """
    sharded = model.sharded_state_dict(metadata=dict(METADATA))  # a copy: Megatron adds this layout's groups
    return {name: tensor for name, tensor in sharded.items() if not name.endswith(EXTRA_STATE)}


def load_weights(model: PolicyModel, weights: dict[str, Any]) -> None:
    missing, unexpected = model.load_state_dict(weights, strict=False)
    missing = [name for name in missing if not name.endswith(EXTRA_STATE)]
    if missing or unexpected:
        raise RuntimeError(f"the checkpoint and the model differ: missing {missing}, unexpected {unexpected}")


def chained_optimizers(state: TrainingState) -> list[MegatronOptimizer]:
    return getattr(state.optimizer, "chained_optimizers", [state.optimizer])


def distributed_optimizers(state: TrainingState) -> list[DistributedOptimizer]:
    return [optimizer for optimizer in chained_optimizers(state) if isinstance(optimizer, DistributedOptimizer)]


def accept_missing_states(optimizer: DistributedOptimizer) -> None:
    """Keep the present value of every state that a checkpoint lacks; all lack the ``step`` of torch's AdamW."""
    set_states = DistributedOptimizer._set_main_param_and_optimizer_states

    def set_states_found(model_param: Any, tensors: dict[str, Any]) -> None:
        own = optimizer._get_main_param_and_optimizer_states(model_param)
        set_states(optimizer, model_param, own | tensors)

    optimizer._set_main_param_and_optimizer_states = set_states_found


def restore_step_count(optimizer: DistributedOptimizer, num_steps: int) -> None:
    """Give every parameter its own step count: Megatron leaves one dummy tensor for all parameters of torch's AdamW.

    With the shared tensor, each parameter would advance the count of all, and the next update would be off by a fifth.
    """
    for state in optimizer.optimizer.state.values():
        if "step" in state:
            state["step"] = torch.full_like(state["step"], num_steps)
    if counts_in_groups(optimizer):
        for group in optimizer.optimizer.param_groups:
            group["step"] = num_steps
