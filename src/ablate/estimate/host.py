"""CPUs and host memory of a node with GPUs: what its servers and ranks need beyond their GPUs."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ablate.config import RunConfig
from ablate.errors import UserError
from ablate.estimate.device import GIB
from ablate.estimate.memory import host_bytes
from ablate.estimate.shape import Shape

CPUS_OF_A_SERVER = 4  # our choice: an API server, an engine core, and what they wait for (tokens, kernels to compile)
CPUS_OF_A_RANK = 2  # our choice: a step's Python, and what stages batches and checkpoints meanwhile
CPUS_OF_THE_LEADER = 8  # our choice: decoding, parsing of answers, 256 workers that wait for sandboxes
SERVER_GIB = 8.0  # resident memory of a server's two processes; mapped weights are the kernel's to drop
GB = 1e9
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True)
class Machine:
    """Where a run will train.

    Example: ``Machine(nodes=2, processes_per_node=8, gpus_per_node=8, generation_nodes=4, gpu_bytes=80e9)``
    """

    nodes: int
    processes_per_node: int
    gpus_per_node: int  # 0: the nodes train and sample on their CPUs
    generation_nodes: int | None = (
        None  # nodes with servers that the job starts; None: as rollout.engine.placement says
    )
    gpu_bytes: float | None = None  # memory of one GPU; None while that is not known
    gpus_that_generate: int | None = None  # GPUs of a trainer node on which the job starts servers
    cpus_per_node: int | None = None  # None while that is not known, and then neither CPUs nor memory are checked
    host_bytes: float | None = None  # asked for; 0: all that a node has; None: the site's default
    is_here: bool = False  # this process trains on it: other checks have counted processes and looked for packages

    @property
    def num_processes(self) -> int:
        return self.nodes * self.processes_per_node

    def placement(self, config: RunConfig) -> str:
        """Where the engine will run: servers | child | inline."""
        if config.rollout.engine.share_gpus:
            return "servers"
        if self.generation_nodes is not None:
            return "servers" if self.generation_nodes else "child"
        placement = config.rollout.engine.placement
        return ("child" if self.num_processes > 1 else "inline") if placement == "auto" else placement


@dataclass(frozen=True)
class Need:
    """What one node needs.

    Example: ``Need(cpus=24, num_bytes=4.2e11, of="8 trainer ranks")``
    """

    cpus: int
    num_bytes: float
    of: str


def memory_bytes(words: str) -> float | None:
    """What ``sbatch --mem`` makes of a value: mebibytes without a unit. None where nothing is asked for.

    Raises:
        UserError: for another form.
    """
    found = re.fullmatch(r"(\d+)([KMGT]?)B?", words.strip().upper())
    if words.strip() and found is None:
        raise UserError(f"ABLATE_MEMORY={words} is no amount of memory: write it as sbatch --mem does, such as 900G")
    return None if found is None else float(found[1]) * UNITS[found[2] or "M"]


def needs(config: RunConfig, machine: Machine, shape: Shape | None) -> list[Need]:
    """What each kind of node needs: those that train, with or without servers, and those that only generate."""
    ranks, size = machine.processes_per_node, config.rollout.engine.tensor_parallel
    saved = 0.0 if shape is None else host_bytes(shape, config.parallel, ranks)
    shared = ranks if config.rollout.engine.share_gpus else 0
    next_to_ranks = (machine.gpus_that_generate or shared) // size
    trainer = Need(
        CPUS_OF_A_RANK * ranks + CPUS_OF_THE_LEADER + CPUS_OF_A_SERVER * next_to_ranks,
        saved + SERVER_GIB * GIB * next_to_ranks,
        f"{ranks} trainer ranks" + (f" and {next_to_ranks} servers" if next_to_ranks else ""),
    )
    servers = machine.gpus_per_node // size
    generator = Need(CPUS_OF_A_SERVER * servers, SERVER_GIB * GIB * servers, f"{servers} servers")
    return [trainer, generator] if machine.generation_nodes else [trainer]


def check_host(config: RunConfig, machine: Machine, shape: Shape | None) -> None:
    """Raise ``UserError`` for a node with GPUs that is asked for with too few CPUs or too little memory."""
    if not machine.gpus_per_node or machine.cpus_per_node is None:
        return
    for need in needs(config, machine, shape):
        if machine.cpus_per_node < need.cpus:
            raise UserError(
                f"a node with {need.of} needs {need.cpus} CPUs, and ABLATE_CPUS_PER_TASK={machine.cpus_per_node}: set "
                f"it to {need.cpus} or more"
            )
        if machine.host_bytes is None:
            raise UserError(
                "ABLATE_MEMORY is empty, and a site's default is too little for a node with GPUs: set it to 0 for all "
                f"of a node's memory, or to what {need.of} need, about {need.num_bytes / GB:.0f} GB"
            )
        if 0 < machine.host_bytes < need.num_bytes:
            raise UserError(
                f"a node with {need.of} needs about {need.num_bytes / GB:.0f} GB of host memory while a checkpoint is "
                f"gathered, and ABLATE_MEMORY is {machine.host_bytes / GB:.0f} GB: raise it, or set it to 0 for all "
                "of a node's memory"
            )
