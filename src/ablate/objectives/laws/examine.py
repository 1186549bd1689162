"""Run every law on an objective. A law knows no objective by name, so a new objective needs no new test:

python -m ablate.laws laws=my_objective
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ablate.objectives.base import Objective
from ablate.objectives.laws import closed_form, gradient_laws, invariance_laws  # noqa: F401  they enter their laws into LAWS
from ablate.objectives.laws.law import LAWS
from ablate.objectives.laws.synthetic import Shape, random_rollouts


@dataclass(frozen=True)
class Finding:
    """What one law says about one objective. ``status``: holds | broken | waived | not applicable."""

    law: str
    status: str
    detail: str


def examine(objective: Objective, num_batches: int) -> list[Finding]:
    """Run every law on random batches of many shapes and say which ones hold."""
    findings = []
    for name, law in LAWS.items():
        if (reason := law.not_applicable(objective)) is not None:
            findings.append(Finding(name, "not applicable", reason))
        elif name in objective.waived_laws:
            findings.append(Finding(name, "waived", objective.waived_laws[name]))
        else:
            found = [
                law.deviation(objective, random_rollouts(shape))
                for shape in shapes(num_batches, objective)[:: law.every]
            ]
            worst = math.nan if any(map(math.isnan, found)) else max(found)
            status = "holds" if worst <= law.tolerance else "broken"
            findings.append(Finding(name, status, f"{law.says} (worst {worst:.1e}, allowed {law.tolerance:.0e})"))
    return findings


MARKS = {"holds": "+", "waived": "w", "not applicable": ".", "broken": "X"}


def table(findings: Mapping[str, Sequence[Finding]]) -> list[str]:
    """The lines of a table of objectives x laws, and what its columns and marks mean."""
    laws = [finding.law for finding in next(iter(findings.values()))]
    width = max(map(len, findings))
    lines = [f"{number:2}  {law}: {LAWS[law].says}" for number, law in enumerate(laws, start=1)]
    lines += ["", ", ".join(f"{mark} {status}" for status, mark in MARKS.items()), ""]
    lines.append(" " * width + "".join(f"{number:3}" for number in range(1, len(laws) + 1)))
    for name, row in findings.items():
        lines.append(name.ljust(width) + "".join(MARKS[finding.status].rjust(3) for finding in row))
    return lines


def weaknesses(objective: Objective) -> list[str]:
    """One sentence where less than the usual checks the gradient: a reader of "holds" should know."""
    unknown = closed_form.why_unknown(objective)
    if unknown is None:
        return []
    waived = objective.waived_laws.get("central_differences")
    return [f"weaker: {unknown}" if waived is None else f"unchecked: {unknown}, and these are waived ({waived})"]


def shapes(num_batches: int, objective: Objective) -> list[Shape]:
    """A spread of sizes and of distances from the old policy: on it, within GSPO's clip, within GRPO's, beyond both."""
    scales = (0.0, 2e-4, 0.1, 1.0)
    return [
        Shape(seed, 1 + seed % 4, max(2 + seed % 5, objective.min_group_size), 1 + seed % 9, scales[seed % len(scales)])
        for seed in range(num_batches)
    ]
