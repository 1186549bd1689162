"""``python -m ablate.serve``: the vLLM servers of a run, as commands.

    python -m ablate.serve NUM_NODES GPUS_PER_NODE experiment=nouscoder_14b objective=dapo

Prints one line for each server: the index of its node, its GPUs, its port offset, then the words after
``python``. A server serves one context length, so every training context and every evaluation context gets its own
servers. With 0 GPUs a node has one CPU server for each context.
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
from ablate.rollout.settings import engine_arguments, serve_command, yarn_overrides

EVALUATION_SHARE = 8  # our choice: a context that is only evaluated gets one server in eight


def context_of_each_server(config: RunConfig, num_servers: int) -> list[int]:
    """Contexts in tokens, one per server: a few for those only evaluated, the others shared by the training contexts.

    Raises:
        UserError: when there are fewer servers than contexts.
    """
    trained = list(dict.fromkeys(stage.length for stage in config.context.stages))
    only_evaluated = sorted({context.length for context in config.eval.contexts} - set(trained))
    if num_servers < len(trained) + len(only_evaluated):
        raise UserError(
            f"{num_servers} servers are too few for {len(trained) + len(only_evaluated)} context lengths: "
            "raise ABLATE_GENERATION_NODES, or evaluate at fewer eval.contexts"
        )
    contexts = only_evaluated * max(1, num_servers // EVALUATION_SHARE)
    if len(contexts) + len(trained) > num_servers:
        contexts = only_evaluated
    return contexts + [trained[index % len(trained)] for index in range(num_servers - len(contexts))]


def hf_config(config: RunConfig) -> dict[str, Any]:
    """The checkpoint's config.json; before it has been fetched, what conf/model says of it."""
    if config.model.path is None:
        raise UserError(f"model={config.model.name} is built on first use: servers need model.path=DIR")
    path = Path(config.model.path)
    if path.is_dir() or config.model.architecture is None:
        return read_hf_config(path)
    theta = config.model.architecture["rope_theta"]
    return {"max_position_embeddings": config.model.original_context, "rope_theta": theta}


def server_command(config: RunConfig, context: int, on_cpu: bool) -> list[str]:
    overrides = yarn_overrides(hf_config(config), context, config.model.original_context)
    arguments = engine_arguments(config.rollout.engine, context, overrides, on_cpu=on_cpu)
    return serve_command(str(config.model.path), arguments)


def server_lines(config: RunConfig, num_nodes: int, gpus_per_node: int) -> list[str]:
    """Fill the nodes one after the other; a server's GPUs are all on one node."""
    size = config.rollout.engine.tensor_parallel
    if gpus_per_node % size:
        raise UserError(
            f"ABLATE_GPUS_PER_NODE={gpus_per_node} is not divisible by rollout.engine.tensor_parallel={size}: lower it"
        )
    lengths = {stage.length for stage in config.context.stages} | {each.length for each in config.eval.contexts}
    num_contexts = len(lengths)
    servers_per_node = gpus_per_node // size or num_contexts
    lines = []
    for index, context in enumerate(context_of_each_server(config, num_nodes * servers_per_node)):
        node, place = divmod(index, servers_per_node)
        devices = ",".join(str(place * size + gpu) for gpu in range(size)) if gpus_per_node else "none"
        words = server_command(config, context, on_cpu=gpus_per_node == 0)
        lines.append(f"{node} {devices} {place} {shlex.join(words)}")
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
