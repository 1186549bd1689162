"""How a part says what others must know of it."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import TypeVar

Part = TypeVar("Part", bound=Callable)

# exp overflows float32 just above 88, and inf * 0 is nan in a backward pass. Beyond the limit a ratio is constant.
LOG_RATIO_LIMIT = 80.0


def waives(**reasons: str) -> Callable[[Part], Part]:
    """Declare laws that a part breaks on purpose, each with the reason."""

    def declare(part: Part) -> Part:
        part.waived_laws = MappingProxyType(reasons)
        return part

    return declare


def declares(**facts: bool | str) -> Callable[[Part], Part]:
    """State facts about a part.

    Of a ratio: ``needs_old_logp`` (True if unsaid), ``is_per_sequence`` (False if unsaid). Of a surrogate:
    ``needs_ratio``, the only ratio that it is defined for, and ``can_vanish`` (False if unsaid), whether it can set a
    token's gradient to 0 without a clip range.
    """

    def declare(part: Part) -> Part:
        for name, value in facts.items():
            setattr(part, name, value)
        return part

    return declare
