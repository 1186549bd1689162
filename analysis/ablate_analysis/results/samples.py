"""What a reader returns, and the words in which files say that a sample passed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ablate.errors import UserError


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer of a model to one problem.

    Example:
        ``Sample(problem="abc999_a", score=1.0, number=3, finished=True, tokens=811, source="a.jsonl:17")``.
    """

    problem: str
    score: float | None  # None: no verdict, because the sandbox or the grader failed
    number: int | None = None  # of the sample among those of its problem; None: its place in the file
    run: str = ""  # a training run, where the file names its seed
    finished: bool | None = None  # None: the file does not say
    tokens: int | None = None
    source: str = ""  # file and line or key, so that it can be opened


@dataclass
class Results:
    """What one file, or one directory, holds."""

    format: str
    samples: list[Sample] = field(default_factory=list)
    about: dict[str, dict[str, str]] = field(
        default_factory=dict
    )  # problem -> cluster, difficulty, platform, month, ...
    versions: dict[str, str] = field(default_factory=dict)  # arms whose versions differ are not compared
    conditions: dict[str, str] = field(default_factory=dict)  # arms whose conditions differ are compared with a warning
    notes: list[str] = field(default_factory=list)
    has_samples: bool = True  # False: only each problem's mean is known, so there is no pass@k above 1

    def note_count(self, count: int, words: str) -> None:
        """Add a note about a number of samples or records, if there are any."""
        if count:
            self.notes.append(f"{count} {words}")


@dataclass(frozen=True)
class Options:
    """The words of a command line that say how a file is read; None where the file itself must tell."""

    metric: str | None = None
    filter: str | None = None
    task: str | None = None
    model: str | None = None
    step: int | None = None
    context: int | None = None
    pass_at_least: float | None = None  # scores from here on count as passed
    columns: Mapping[str, str] = field(default_factory=dict)


def number_of(value: Any, where: str) -> float | None:
    """A verdict or a score as a number; None for null and NaN.

    Raises:
        UserError: for a text: ``"False"`` would be true.
    """
    if value is None:
        return None
    if isinstance(value, bool | int | float):
        return None if math.isnan(value) else float(value)
    if hasattr(value, "item"):  # a number of numpy's
        return number_of(value.item(), where)
    kind = "the text" if isinstance(value, str) else f"a {type(value).__name__}"
    raise UserError(f"{where} is {kind} {str(value)[:40]!r} and not a number: write true, false or a number there")


def whole_number(value: Any) -> int | None:
    """A count, where there is one."""
    is_count = isinstance(value, int | float) and not isinstance(value, bool) and value == value and value >= 0
    return int(value) if is_count else None


def choose(wanted: str | None, there: list[str], option: str, where: Path | str) -> str:
    """The one that is there, or the one that was asked for.

    Raises:
        UserError: naming the choices.
    """
    if wanted is None and len(there) == 1:
        return there[0]
    if wanted in there:
        return str(wanted)
    shown = ", ".join(there[:12]) or "none"
    if wanted is None:
        raise UserError(f"{where} holds several: choose {option}= one of {shown}")
    raise UserError(f"{where} has no {option} {wanted}: choose one of {shown}")


def refuse_totals(path: Path, what: str = "only totals") -> UserError:
    return UserError(
        f"{path} holds {what}, and a comparison pairs the models problem by problem: give the file that has a row for "
        "each problem or sample"
    )
