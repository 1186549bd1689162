"""Trials on disk, one JSON line each, and the table that they add up to. A campaign runs in pieces and continues."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Trial:
    """One fault and what became of it.

    Example: ``Trial("kills", "checkpoint, tp2", True, "equal")``
    """

    part: str
    fault: str
    is_hit: bool  # the fault happened where it was aimed at
    outcome: str  # a few words; equal words are counted together
    detail: str = ""
    commit: str = ""  # of the code that was tested; TrialFile.append fills it in


class TrialFile:
    """Trials of several processes may be appended to one file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, trial: Trial) -> None:
        trial = replace(trial, commit=commit())
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(asdict(trial)) + "\n")
        print(
            f"{trial.part}: {trial.fault}: {'' if trial.is_hit else 'missed, '}{trial.outcome}  {trial.detail}",
            flush=True,
        )

    def read(self) -> list[Trial]:
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        return [Trial(**json.loads(line)) for line in lines]


@cache
def commit() -> str:
    """The commit of this checkout, and a ``+`` if files differ from it; read once for each process."""
    described = ["git", "describe", "--always", "--dirty=+", "--abbrev=7", "--exclude=*"]
    return subprocess.run(described, capture_output=True, text=True, cwd=Path(__file__).parent).stdout.strip()


@cache
def code_version() -> str:
    """A name that changes when what a run computes may change: the trees of the code and of the configurations."""
    trees = subprocess.run(
        ["git", "rev-parse", "HEAD:src", "HEAD:conf"], capture_output=True, text=True, cwd=Path(__file__).parent
    )
    return "-".join(tree[:7] for tree in trees.stdout.split())


def table(trials: Iterable[Trial]) -> str:
    """A Markdown table with one row per fault: trials, hits, and how often each outcome was seen."""
    rows: dict[tuple[str, str], list[Trial]] = {}
    for trial in trials:
        rows.setdefault((trial.part, trial.fault), []).append(trial)
    lines = ["| part | fault | trials | hits | outcomes |", "|---|---|---|---|---|"]
    for (part, fault), found in sorted(rows.items()):
        counts = Counter(trial.outcome for trial in found)
        outcomes = ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common())
        lines.append(f"| {part} | {fault} | {len(found)} | {sum(trial.is_hit for trial in found)} | {outcomes} |")
    commits = list(dict.fromkeys(trial.commit for found in rows.values() for trial in found))
    return "\n".join([*lines, "", f"Commits: {', '.join(commits)}"])
