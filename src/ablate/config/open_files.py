"""How many files and sockets the leader may have open at once."""

from __future__ import annotations

import resource

from ablate.config import RunConfig
from ablate.errors import UserError

LIBRARIES = 512  # vLLM, torch, gloo and the records; a tiny run has about 200 open
PER_SANDBOX = 4  # one control socket (measured), or Modal's streams


def allow_open_files(config: RunConfig) -> None:
    """Raise this process's soft limit to what ``config`` may need: most systems start with 1,024.

    Raises:
        UserError: if the hard limit, which only an administrator can raise, is too low.
    """
    needed = check_open_files(config, len(config.rollout.engine.urls))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def check_open_files(config: RunConfig, num_servers: int) -> int:
    """Return how many open files a run with so many servers may need.

    Raises:
        UserError: if the hard limit, which only an administrator can raise, is too low.
    """
    engine, workers = config.rollout.engine, config.verify.workers
    needed = LIBRARIES + num_servers * engine.max_num_seqs + PER_SANDBOX * workers
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise UserError(
            f"{num_servers} servers x {engine.max_num_seqs} requests and {workers} sandboxes need {needed} open "
            f"files, but the hard limit is {hard}: raise it (ulimit -Hn {needed}), or lower "
            "rollout.engine.max_num_seqs or verify.workers"
        )
    return needed
