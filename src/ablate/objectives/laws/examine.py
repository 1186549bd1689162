"""Run every law on an objective. A law knows no objective by name, so a new objective needs no new test:

python -m ablate.laws laws=my_objective
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ablate.objectives.base import Objective
from ablate.objectives.laws import gradient_laws, invariance_laws  # noqa: F401  they enter their laws into LAWS
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
            found = [law.deviation(objective, random_rollouts(shape)) for shape in shapes(num_batches, objective)]
            worst = math.nan if any(map(math.isnan, found)) else max(found)
            status = "holds" if worst <= law.tolerance else "broken"
            findings.append(Finding(name, status, f"{law.says} (worst {worst:.1e}, allowed {law.tolerance:.0e})"))
    return findings


def shapes(num_batches: int, objective: Objective) -> list[Shape]:
    """A spread of sizes and of distances from the old policy: on it, within GSPO's clip, within GRPO's, beyond both."""
    scales = (0.0, 2e-4, 0.1, 1.0)
    return [
        Shape(seed, 1 + seed % 4, max(2 + seed % 5, objective.min_group_size), 1 + seed % 9, scales[seed % len(scales)])
        for seed in range(num_batches)
    ]
