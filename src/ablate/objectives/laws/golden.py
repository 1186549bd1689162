"""Committed values of every objective on fixed rollouts, to 12 digits: a change of a loss must be a decision.

python -m ablate.laws golden=check
python -m ablate.laws golden=record    after such a decision; commit golden.json with the reason
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ablate.objectives.laws.step import loss_and_gradient, step_batch
from ablate.objectives.laws.synthetic import Shape, random_rollouts
from ablate.objectives.registry import build

GOLDEN_FILE = Path(__file__).with_name("golden.json")
# Far from the old policy a clip of 0.2 binds for some tokens; near it, GSPO's clip of 3e-4 binds for some sequences.
SHAPES = {
    "far": Shape(seed=11, num_groups=6, group_size=8, max_length=50, log_ratio_scale=0.3),
    "near": Shape(seed=12, num_groups=6, group_size=8, max_length=50, log_ratio_scale=3e-4),
}


def golden_values(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Objective -> {"far loss", "far gradient norm", "near loss", ...}, each as a decimal string of 12 digits."""
    values = {}
    for name, config in sorted(configs.items()):
        objective = build(config)
        values[name] = {}
        for label, shape in SHAPES.items():
            rollouts = random_rollouts(shape)
            batch = step_batch(objective, rollouts)
            loss, gradient_BT = loss_and_gradient(objective, rollouts.logp_BT, batch)
            values[name][f"{label} loss"] = f"{loss.item():.12g}"
            values[name][f"{label} gradient norm"] = f"{gradient_BT.norm().item():.12g}"
    return values


def read_golden() -> dict[str, dict[str, str]]:
    return json.loads(GOLDEN_FILE.read_text())


def write_golden(values: Mapping[str, Mapping[str, str]]) -> None:
    GOLDEN_FILE.write_text(json.dumps(values, indent=2) + "\n")


def changed_values(values: Mapping[str, Mapping[str, str]]) -> list[str]:
    """One line for each value that is not as committed, or committed for no objective."""
    committed = read_golden()
    lines = []
    for name in sorted(set(values) | set(committed)):
        now, then = values.get(name, {}), committed.get(name, {})
        for key in sorted(set(now) | set(then)):
            if now.get(key) != then.get(key):
                lines.append(f"{name} {key}: {now.get(key)} instead of {then.get(key)}")
    return lines
