"""Which servers a run needs, where they run, and the command of each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.config import RunConfig
from ablate.errors import UserError
from ablate.models.hf_config import read_hf_config
from ablate.rollout.vllm.settings import engine_arguments, server_command
from ablate.rollout.vllm.user_arguments import check_not_set, checked_arguments


def hf_config(config: RunConfig) -> dict[str, Any]:
    """The checkpoint's config.json; before it has been fetched, what conf/model says of it."""
    if config.model.path is None:
        raise UserError(f"model={config.model.name} is built on first use: servers need model.path=DIR")
    path = Path(config.model.path)
    if path.is_dir() or config.model.architecture is None:
        return read_hf_config(path)
    return {"max_position_embeddings": config.model.original_context}


@dataclass(frozen=True)
class Server:
    """One server: where it runs, and the words after ``python`` that start it.

    Example: ``Server(node=0, devices="4,5", offset=2, words=("-m", "vllm.entrypoints.openai.api_server", ...))``
    """

    node: int
    devices: str  # for CUDA_VISIBLE_DEVICES; "none" on a CPU
    offset: int  # of its port, from the first server of its node
    words: tuple[str, ...]

    def line(self) -> str:
        return f"{self.node} {self.devices} {self.offset} {json.dumps(self.words)}"


def servers_of(
    config: RunConfig, num_nodes: int, gpus_per_node: int, first_gpu: int = 0, num_on_cpu: int = 1
) -> list[Server]:
    """The servers of a run, all the same but for their place; a server's GPUs are all on one node.

    Args:
        gpus_per_node: GPUs that generate; with 0 a node has ``num_on_cpu`` CPU servers.
        first_gpu: the first GPU that generates; those before it train.
    """
    size = config.rollout.engine.tensor_parallel
    if gpus_per_node % size:
        raise UserError(
            f"ABLATE_GPUS_PER_NODE={gpus_per_node} is not divisible by rollout.engine.tensor_parallel={size}: lower it"
        )
    arguments = engine_arguments(
        config.rollout.engine, config.longest_context, hf_config(config), on_cpu=gpus_per_node == 0
    )
    check_not_set(arguments, config.rollout.engine)
    checked_arguments(config.rollout.engine)
    words = tuple(server_command(str(config.model.path), arguments | config.rollout.engine.args))
    places = range(gpus_per_node // size if gpus_per_node else num_on_cpu)
    of_place = [",".join(str(first_gpu + place * size + gpu) for gpu in range(size)) for place in places]
    return [
        Server(node, of_place[place] if gpus_per_node else "none", place, words)
        for node in range(num_nodes)
        for place in places
    ]
