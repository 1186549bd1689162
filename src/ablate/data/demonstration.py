"""A demonstration: a problem, and a response that a model learns to imitate."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Demonstration:
    """``response`` has everything that the model would write: text, the fenced program, the end-of-sequence token."""

    problem_id: str
    response: str
