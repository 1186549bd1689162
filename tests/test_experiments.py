"""Every experiment file composes, has its README, and repeats nothing it inherits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from ablate import sweep
from ablate.cli import compose

ROOT = Path(__file__).parents[1]
NAMES = sorted(path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml"))
HEADINGS = ("Question", "Prediction", "Command", "Budget", "Result")


def raw(name: str) -> dict[str, Any]:
    return OmegaConf.to_container(OmegaConf.load(ROOT / "conf" / "experiment" / f"{name}.yaml"))


def group_choices(values: dict[str, Any]) -> dict[str, str]:
    """The groups that the experiment chooses: ``override /model: qwen3_14b`` is {"model": "qwen3_14b"}."""
    entries = [entry for entry in values.get("defaults", []) if isinstance(entry, dict)]
    return {
        re.sub(r"^override\s+/?", "", key).lstrip("/"): choice for entry in entries for key, choice in entry.items()
    }


def leaves(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def repetitions(values: dict[str, Any]) -> list[str]:
    """The groups and keys whose values the run would have without the experiment saying so."""
    choices = group_choices(values)
    usual = compose([], with_hydra=True).hydra.runtime.choices
    inherited = compose([f"{group}={choice}" for group, choice in choices.items()])
    own = {key: value for key, value in values.items() if key not in ("defaults", "hydra")}
    groups = [group for group, choice in choices.items() if usual[group] == choice]
    return groups + [key for key, value in leaves(own) if OmegaConf.select(inherited, key) == value]


def test_there_are_experiments():
    assert NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_cell_composes_and_passes_every_check(name):
    runs = sweep.planned_runs([f"experiment={name}", "seed=0"])  # no check depends on the seed
    assert runs
    assert {run.directory.parts[-3] for run in runs} == {name}


@pytest.mark.parametrize("name", NAMES)
def test_it_has_a_readme_with_question_prediction_command_budget_and_result(name):
    text = (ROOT / "experiments" / name / "README.md").read_text()
    found = re.findall(r"^## (\w+)", text, flags=re.MULTILINE)
    assert [heading for heading in HEADINGS if heading not in found] == []
    assert f"experiment={name}" in text


@pytest.mark.parametrize("name", NAMES)
def test_it_repeats_nothing_it_inherits(name):
    assert repetitions(raw(name)) == []


def test_a_repeated_group_and_a_repeated_value_are_noticed():
    values = {
        "defaults": [{"override /parallel": "single"}, {"override /eval": "lcb"}],
        "seed": 0,
        "eval": {"every": 50},
    }
    assert repetitions(values) == ["parallel", "seed", "eval.every"]


def test_every_experiment_directory_belongs_to_an_experiment():
    assert {path.name for path in (ROOT / "experiments").iterdir() if path.is_dir()} <= set(NAMES)
