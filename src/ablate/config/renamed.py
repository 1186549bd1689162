"""Renamed keys: an old record stays readable, and an old command is answered with the new key."""

from __future__ import annotations

RENAMED = {
    "optim.steps_per_batch": "optim.updates_per_batch",
    "eval.context_factors": "eval.contexts",
    "rollout.engine.mode": "rollout.engine.placement",
    "objective.swap": "objective",
    "parallel.timeout_s": "parallel.leader_timeout_s",
}


def new_key(key: str) -> str | None:
    """Today's name of a key that is called otherwise now; None for every other key.

    Example: ``new_key("objective.swap.ratio")`` is ``"objective.ratio"``.
    """
    for old, new in RENAMED.items():
        if key == old or key.startswith(old + "."):
            return new + key.removeprefix(old)
    return None
