"""``python -m ablate.serve``: the vLLM servers of a run, as commands or running.

    python -m ablate.serve NUM_NODES GPUS_PER_NODE experiment=nouscoder_14b objective=dapo
    python -m ablate.serve 1 4 run=true first_gpu=4 port=8000 experiment=nouscoder_14b

Prints one line for each server: the index of its node, its GPUs, its port offset, then the words after ``python``
as a JSON list. All servers are the same: each serves the longest context of the run, and so every other one. With 0
GPUs a node has servers=N CPU servers (default 1). The servers need VLLM_SERVER_DEV_MODE=1 and ABLATE_SERVER_TOKEN in
their environment.

run=true runs the servers of one node instead, on host=127.0.0.1 from port=8000 on, and starts a server again that ends.
first_gpu=N leaves the GPUs below N to the trainer. SIGTERM or Ctrl-C ends them all. The servers of
rollout.engine.share_gpus=true are on the trainer's nodes, and one that ends stays away; only_if_shared=true starts no
other servers.
"""

from __future__ import annotations

import sys

from ablate.cli import compose, help_page, run_main, split_words
from ablate.errors import UserError

OWN_KEYS = ("run", "host", "port", "first_gpu", "servers", "only_if_shared")


def number_of(own: dict[str, str], key: str, default: int) -> int:
    value = own.get(key, str(default))
    if not value.isdecimal():
        raise UserError(f"{key}={value} is not a whole number: write {key}={default}")
    return int(value)


def choice_of(own: dict[str, str], key: str) -> bool:
    value = own.get(key, "false")
    if value not in ("true", "false"):
        raise UserError(f"{key}={value} is neither true nor false: write {key}=true")
    return value == "true"


def main() -> None:
    words = sys.argv[1:]
    if {"-h", "--help"} & set(words):
        print(help_page(__doc__))
        return
    if len(words) < 2 or not all(word.isdecimal() for word in words[:2]):
        raise UserError("two numbers come first: python -m ablate.serve NUM_NODES GPUS_PER_NODE experiment=NAME")
    num_nodes, gpus_per_node = map(int, words[:2])
    found = split_words(words[2:], OWN_KEYS)
    own = found.own
    runs, only_if_shared = choice_of(own, "run"), choice_of(own, "only_if_shared")
    if runs and num_nodes != 1:
        raise UserError(f"run=true runs the servers of one node, not of {num_nodes}: write 1 as the first number")
    from ablate.config import parse
    from ablate.serve.lines import servers_of
    from ablate.serve.run import run_servers

    config = parse(compose(found.overrides))
    shares = config.rollout.engine.share_gpus
    if only_if_shared and not shares:
        return
    if shares and gpus_per_node and not only_if_shared:
        raise UserError(
            "rollout.engine.share_gpus=true has its servers on the GPUs that train: set ABLATE_PROCESSES_PER_NODE to "
            "ABLATE_GPUS_PER_NODE and ABLATE_GENERATION_NODES=0, or rollout.engine.share_gpus=false"
        )
    servers = servers_of(
        config,
        num_nodes,
        gpus_per_node,
        number_of(own, "first_gpu", 0),
        number_of(own, "servers", 1),
    )
    if runs:
        run_servers(servers, own.get("host", "127.0.0.1"), number_of(own, "port", 8000), starts_again=not shares)
    else:
        print(*(server.line() for server in servers), sep="\n")


if __name__ == "__main__":
    run_main(main)
