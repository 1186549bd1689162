"""Renamed keys: old records stay readable, and the error for an old key names the new key."""

from __future__ import annotations

RENAMED = {
    "optim.steps_per_batch": "optim.updates_per_batch",
    "eval.context_factors": "eval.contexts",
    "rollout.engine.mode": "rollout.engine.placement",
    "objective.swap": "objective",
    "parallel.timeout_s": "parallel.leader_timeout_s",
    "rollout.max_refill_rounds": "rollout.max_draws",
}
# The new key holds another quantity.
MEANS_NOW = {"rollout.max_draws": "prompts_per_step x (1 + the refill rounds)"}


def sentence_for(key: str) -> str | None:
    """What to tell whoever uses a renamed key; None for every other key."""
    new = new_key(key)
    return None if new is None else f"{key} is called {new} now: write {new}={MEANS_NOW.get(new, 'VALUE')}"


def new_key(key: str) -> str | None:
    """The new name of a renamed key; None for every other key.

    Example: ``new_key("objective.swap.ratio")`` is ``"objective.ratio"``.
    """
    for old, new in RENAMED.items():
        if key == old or key.startswith(old + "."):
            return new + key.removeprefix(old)
    return None
