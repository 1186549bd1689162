"""Everything that the weights of a built model depend on, and the model's name in the cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ablate.config import ModelConfig, OptimConfig, section
from ablate.data.families import FAMILIES
from ablate.data.tokenizer import VOCABULARY
from ablate.errors import UserError

PACKAGE = Path(__file__).resolve().parents[1]
# A build depends on these files, and on those of its family, in addition to the configuration: a change in one of them
# makes a different model.
SOURCES = ("warm_start/build.py", "seeding.py", "data/tokenizer.py", "data/prompts.py")


@dataclass
class LessonConfig:
    steps: int
    batch_size: int
    noise: dict[str, Any]  # how its demonstrations differ; the keys depend on the family


@dataclass
class LayoutConfig:
    """The keys of ``parallel`` that can change the result in one process, if only by a bit."""

    num_threads: int
    max_tokens_per_micro_batch: int
    logp_chunk_tokens: int


@dataclass
class BuildConfig:
    """``model.build``: how the model of ``model.architecture`` is made."""

    seed: int
    family: str  # of ``ablate.data.families``
    initializer_range: float
    yarn_beta_fast: float
    yarn_beta_slow: float
    template: str
    objective: dict[str, Any]
    optim: OptimConfig
    layout: LayoutConfig
    lessons: list[LessonConfig]

    @property
    def num_steps(self) -> int:
        return sum(lesson.steps for lesson in self.lessons)


def build_config(model: ModelConfig) -> BuildConfig:
    """Return ``model.build``, checked.

    Raises:
        UserError: for a key or value that breaks the schema, or if the configuration does not say what to build.
    """
    if model.build is None or model.architecture is None:
        raise UserError(
            "model.path is null, and so is model.build or model.architecture: set model.path, or both model.build and "
            "model.architecture"
        )
    config = section(BuildConfig, model.build, "model.build")
    if config.family not in FAMILIES:
        raise UserError(f"model.build.family={config.family} is unknown: use {' or '.join(FAMILIES)}")
    for number, lesson in enumerate(config.lessons):
        section(FAMILIES[config.family].noise_type, lesson.noise, f"model.build.lessons.{number}.noise")
    if not config.lessons or config.num_steps < 1:
        raise UserError("model.build.lessons has no steps: give at least one lesson of one step")
    if model.architecture.get("family", "qwen3") != "qwen3":
        raise UserError(
            f"model.build makes models of the family qwen3, not {model.architecture['family']}: "
            "set model.path to a checkpoint instead"
        )
    if model.architecture.get("vocab_size") != len(VOCABULARY):
        raise UserError(
            f"model.architecture.vocab_size={model.architecture.get('vocab_size')}, "
            f"but the tiny tokenizer has {len(VOCABULARY)} tokens: set it to {len(VOCABULARY)}"
        )
    return config


def make_recipe(model: ModelConfig) -> dict[str, Any]:
    """Return, as JSON values, everything that the weights of ``model`` depend on."""
    config = build_config(model)
    sources = (*SOURCES, *FAMILIES[config.family].sources)
    return {
        "name": model.name,
        "original_context": model.original_context,
        "architecture": model.architecture,
        "build": asdict(config),
        "sources": {name: hashlib.sha256((PACKAGE / name).read_bytes()).hexdigest() for name in sources},
    }


def digest(recipe: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]
