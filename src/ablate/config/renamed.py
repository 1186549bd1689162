"""Renamed keys: old records stay readable, and the error for an old key names the new key."""

from __future__ import annotations

RENAMED = {
    "optim.steps_per_batch": "optim.updates_per_batch",
    "eval.context_factors": "eval.contexts",
    "rollout.engine.mode": "rollout.engine.placement",
    "objective.swap": "objective",
    "parallel.timeout_s": "parallel.leader_timeout_s",
}


def new_key(key: str) -> str | None:
    """The new name of a renamed key; None for every other key.

    Example: ``new_key("objective.swap.ratio")`` is ``"objective.ratio"``.
    """
    for old, new in RENAMED.items():
        if key == old or key.startswith(old + "."):
            return new + key.removeprefix(old)
    return None
