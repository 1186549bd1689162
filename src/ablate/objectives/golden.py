"""Committed values of every preset on fixed rollouts, to 12 digits: a change of a loss must be a decision.

python -m ablate.replay golden=check
python -m ablate.replay golden=record    after such a decision; commit golden.json with the reason
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ablate.objectives.registry import build, preset_names
from ablate.objectives.step import loss_and_gradient, step_batch
from ablate.objectives.synthetic import Shape, random_rollouts

GOLDEN_FILE = Path(__file__).with_name("golden.json")
# Far from the old policy (every clip of 0.2 at work), and near it (GSPO's clip of 3e-4 neither idle nor always on).
SHAPES = {
    "far": Shape(seed=11, num_groups=6, group_size=8, max_length=50, log_ratio_scale=0.3),
    "near": Shape(seed=12, num_groups=6, group_size=8, max_length=50, log_ratio_scale=3e-4),
}


def golden_values(preset_config: Callable[[str], Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Preset -> {"far loss", "far gradient norm", "near loss", ...}, each as a decimal string of 12 digits."""
    values = {}
    for name in preset_names():
        objective = build(preset_config(name))
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


def differences(values: Mapping[str, Mapping[str, str]]) -> list[str]:
    """One line for each value that is not as committed, or committed for no preset."""
    committed = read_golden()
    lines = []
    for name in sorted(set(values) | set(committed)):
        now, then = values.get(name, {}), committed.get(name, {})
        for key in sorted(set(now) | set(then)):
            if now.get(key) != then.get(key):
                lines.append(f"{name} {key}: {now.get(key)} instead of {then.get(key)}")
    return lines
