"""Judging programs: extraction, the sandbox, comparison, verdicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ablate.verify.pool import Verifier, open_verifier

__all__ = ["Verifier", "open_verifier"]


def __getattr__(name: str) -> object:
    # Late, because the supervisor process imports this package with nothing but the standard library.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ablate.verify import pool

    return getattr(pool, name)
