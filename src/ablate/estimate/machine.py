"""What can be refused from arithmetic before a node is allocated, and what an estimate makes a warning of."""

from __future__ import annotations

from ablate.config import RunConfig
from ablate.config.open_files import check_open_files
from ablate.errors import UserError
from ablate.estimate.decode import kv_room
from ablate.estimate.device import GIB, DeviceConfig
from ablate.estimate.host import Machine, check_host
from ablate.estimate.memory import rank_memory
from ablate.estimate.run import RunEstimate
from ablate.estimate.shape import Shape

GB = 1e9
NEAR = 0.9  # of a device's memory: the estimate may be 10 % too low


def check_machine(config: RunConfig, machine: Machine, shape: Shape | None) -> None:
    """Raise ``UserError`` for the first reason why this machine cannot run this configuration.

    Args:
        shape: of the model; None while that is not known, and then memory is not checked.
    """
    if not machine.is_here:
        check_processes(config, machine)
    check_gpus(config, machine)
    check_host(config, machine, shape)
    if shape is not None:
        check_shared_gpus(config, machine, shape)
        check_room_of_a_row(config, machine, shape)
    check_open_files(config, num_servers(config, machine))


def num_servers(config: RunConfig, machine: Machine) -> int:
    engine = config.rollout.engine
    if engine.share_gpus and machine.gpus_per_node:
        return machine.num_processes // engine.tensor_parallel
    if machine.gpus_that_generate:
        return machine.gpus_that_generate // engine.tensor_parallel
    if machine.generation_nodes is None:
        return len(engine.urls)
    return machine.generation_nodes * max(1, machine.gpus_per_node // engine.tensor_parallel)


def check_processes(config: RunConfig, machine: Machine) -> None:
    """Raise ``UserError`` unless nodes x processes is the layout's world size."""
    world_size = config.parallel.world_size
    if world_size is not None and world_size != machine.num_processes:
        raise UserError(
            f"{machine.nodes} nodes x {machine.processes_per_node} processes are {machine.num_processes} processes, "
            f"but parallel.world_size={world_size}: change ABLATE_TRAINER_NODES or ABLATE_PROCESSES_PER_NODE, or "
            "choose another layout (parallel=)"
        )


def check_gpus(config: RunConfig, machine: Machine) -> None:
    """Raise ``UserError`` for a layout of GPUs without GPUs, and for two processes on one GPU."""
    gpus, processes = machine.gpus_per_node, machine.processes_per_node
    if config.parallel.transformer_engine and not gpus and not machine.is_here:
        raise UserError(
            "parallel.transformer_engine=true needs GPUs, and a node has 0: set ABLATE_GPUS_PER_NODE, or "
            "parallel.transformer_engine=false"
        )
    if (
        config.rollout.engine.share_gpus
        and gpus
        and (processes != gpus or machine.generation_nodes or processes % config.rollout.engine.tensor_parallel)
    ):
        raise UserError(
            f"rollout.engine.share_gpus=true has a rank and a share of a server on every GPU, and a node has {gpus} "
            f"GPUs, {processes} ranks, servers of {config.rollout.engine.tensor_parallel} GPUs, and "
            f"{machine.generation_nodes or 0} nodes only generate: set ABLATE_PROCESSES_PER_NODE to "
            "ABLATE_GPUS_PER_NODE and ABLATE_GENERATION_NODES=0, or rollout.engine.share_gpus=false"
        )
    if gpus and processes > gpus:
        raise UserError(
            f"{processes} processes of a node need a GPU each, and a node has {gpus}: lower ABLATE_PROCESSES_PER_NODE"
        )


def check_shared_gpus(config: RunConfig, machine: Machine, shape: Shape) -> None:
    """Raise ``UserError`` if an engine on the trainer's GPUs asks for memory that the trainer's ranks hold.

    vLLM refuses to start where less than ``gpu_memory_utilization`` of the whole GPU is free, and a child engine starts
    on the first GPUs, which the ranks hold.
    """
    placement, engine = machine.placement(config), config.rollout.engine
    if machine.gpu_bytes is None or not machine.gpus_per_node or (placement == "servers" and not engine.share_gpus):
        return
    memory = rank_memory(shape, config.parallel)
    held = memory.resident if engine.share_gpus else memory.tensors
    left = (1 - engine.gpu_memory_utilization) * machine.gpu_bytes
    if held > left:
        raise UserError(
            f"the engine (placement={placement}) shares a GPU with a rank of the trainer: it asks for "
            f"{engine.gpu_memory_utilization:.0%} of {machine.gpu_bytes / GB:.0f} GB, and the rank needs "
            f"{held / GB:.1f} GB{' between updates' if engine.share_gpus else ''}: use servers on GPUs of their own "
            "(slurm/submit.sh --multinode with ABLATE_GENERATION_NODES), or lower rollout.engine.gpu_memory_utilization"
        )


def check_room_of_a_row(config: RunConfig, machine: Machine, shape: Shape) -> None:
    """Raise ``UserError`` if the cache of keys and values has less room than one row of the longest context."""
    engine = config.rollout.engine
    has_other_servers = machine.placement(config) == "servers" and machine.generation_nodes is None
    if has_other_servers or (machine.gpus_per_node and machine.gpu_bytes is None):
        return
    room = kv_room(shape, engine, machine.gpu_bytes if machine.gpus_per_node else None)
    if room < config.longest_context:
        raise UserError(
            f"the cache of an engine has room for {max(0, int(room)):,} tokens, and one row of the longest context has "
            f"{config.longest_context:,}: raise rollout.engine."
            + ("tensor_parallel or gpu_memory_utilization" if machine.gpus_per_node else "kv_cache_gib")
            + ", or lower the context"
        )


def check_start(config: RunConfig, estimate: RunEstimate, device: DeviceConfig, time_limit_s: float) -> None:
    """Raise ``UserError`` for a run that would only evaluate until its time limit, before its first update."""
    first_s = sum(estimate.evaluation_s[each.length] for each in config.eval.contexts) if config.eval.at_start else 0.0
    if first_s > time_limit_s:
        raise UserError(
            f"this run evaluates for about {first_s / 3600:.0f} h on {estimate.num_servers} x {device.name} before its "
            f"first update, and its time limit is {time_limit_s / 3600:.0f} h: begin with debug=rehearsal, set "
            "eval.at_start=false, or lower eval.samples_per_problem"
        )


def memory_warnings(config: RunConfig, device: DeviceConfig, shape: Shape) -> list[str]:
    """A sentence where a trainer's rank comes near the device's memory, or beyond it."""
    if device.is_cpu:
        return []
    memory, engine = rank_memory(shape, config.parallel), config.rollout.engine
    peak, shares = memory.on(device), engine.share_gpus
    awake = memory.at_rest(device) + engine.gpu_memory_utilization * device.memory_bytes
    if shares and awake > device.memory_bytes:
        return [
            f"a server and a rank of the trainer share a GPU of {device.memory_bytes / GB:.0f} GB, and between updates "
            f"they need about {awake / GB:.0f} GB: lower rollout.engine.gpu_memory_utilization, or use a larger layout "
            "(parallel=)"
        ]
    if peak + shares * device.engine_gib * GIB <= NEAR * device.memory_bytes:
        return []
    return [
        f"a trainer's rank needs about {peak / GB:.0f} GB and {device.name} has {device.memory_bytes / GB:.0f} GB: use "
        "a larger layout (parallel=), parallel.recompute=full, or a smaller parallel.max_tokens_per_micro_batch"
    ]


def time_warnings(estimate: RunEstimate, time_limit_s: float | None, stop_lead_s: float | None) -> list[str]:
    """A sentence for each time of the job that is shorter than what it must contain.

    A task that is preempted leaves sampling and evaluation at once. It finishes its updates and writes a checkpoint
    within the stop lead. A step that was not finished is sampled again, while the samples of an evaluation are kept.
    """
    step_s = max(stage.step_s for stage in estimate.stages)
    end_s = max(stage.step.train for stage in estimate.stages) + estimate.checkpoint_write_s
    evaluation_s = max(estimate.evaluation_s.values(), default=0.0)
    sentences = []
    if stop_lead_s is not None and stop_lead_s < end_s:
        sentences.append(
            f"ABLATE_STOP_LEAD_S={stop_lead_s:.0f} is shorter than a step's updates with a checkpoint, about "
            f"{end_s:.0f} s: a task that is stopped may lose the steps since its last checkpoint; raise it"
        )
    if time_limit_s is not None and time_limit_s < step_s + end_s:
        sentences.append(
            f"a time limit of {time_limit_s:.0f} s is shorter than a step and its checkpoint, about "
            f"{step_s + end_s:.0f} s: the run would never advance; raise ABLATE_TIME_LIMIT"
        )
    elif time_limit_s is not None and time_limit_s < evaluation_s:
        sentences.append(
            f"a time limit of {time_limit_s:.0f} s is shorter than an evaluation, about {evaluation_s:.0f} s: its "
            "finished samples are kept, but it takes several tasks; raise ABLATE_TIME_LIMIT"
        )
    return sentences
