"""``python -m ablate.serve``: the vLLM servers of a run, as commands.

    python -m ablate.serve NUM_NODES GPUS_PER_NODE experiment=nouscoder_14b objective=dapo

Prints one line for each server: the index of its node, its GPUs, its port offset, then the words after
``python``. All servers are the same: each serves the longest context of the run, and so every other one. With 0 GPUs a
node has one CPU server. The servers need VLLM_SERVER_DEV_MODE=1 and ABLATE_SERVER_TOKEN in their environment.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

from ablate.cli import compose, run_main
from ablate.config import RunConfig, parse
from ablate.errors import UserError
from ablate.hf_config import read_hf_config
from ablate.rollout.settings import engine_arguments, server_command


def hf_config(config: RunConfig) -> dict[str, Any]:
    """The checkpoint's config.json; before it has been fetched, what conf/model says of it."""
    if config.model.path is None:
        raise UserError(f"model={config.model.name} is built on first use: servers need model.path=DIR")
    path = Path(config.model.path)
    if path.is_dir() or config.model.architecture is None:
        return read_hf_config(path)
    return {"max_position_embeddings": config.model.original_context}


def server_lines(config: RunConfig, num_nodes: int, gpus_per_node: int) -> list[str]:
    """One line per server, all the same but for their place; a server's GPUs are all on one node."""
    size = config.rollout.engine.tensor_parallel
    if gpus_per_node % size:
        raise UserError(
            f"ABLATE_GPUS_PER_NODE={gpus_per_node} is not divisible by rollout.engine.tensor_parallel={size}: lower it"
        )
    arguments = engine_arguments(
        config.rollout.engine, config.longest_context, hf_config(config), on_cpu=gpus_per_node == 0
    )
    words = shlex.join(server_command(str(config.model.path), arguments))
    lines = []
    for node in range(num_nodes):
        for place in range(gpus_per_node // size or 1):
            devices = ",".join(str(place * size + gpu) for gpu in range(size)) if gpus_per_node else "none"
            lines.append(f"{node} {devices} {place} {words}")
    return lines


def main() -> None:
    words = sys.argv[1:]
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return
    if len(words) < 2 or not all(word.isdecimal() for word in words[:2]):
        raise UserError("two numbers come first: python -m ablate.serve NUM_NODES GPUS_PER_NODE experiment=NAME")
    num_nodes, gpus_per_node, *overrides = words
    print(*server_lines(parse(compose(overrides)), int(num_nodes), int(gpus_per_node)), sep="\n")


if __name__ == "__main__":
    run_main(main)
