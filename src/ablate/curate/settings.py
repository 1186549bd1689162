"""The schema of conf/curate.yaml. No default values: YAML owns values."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from typing import Any

from omegaconf import MISSING

from ablate.config import VerifyConfig, section
from ablate.errors import UserError
from ablate.sources.base import SourceConfig
from ablate.sources.choices import SOURCES

EVALUATION_SOURCE = "livecodebench"


@dataclass
class EvaluationConfig:
    """The evaluation set: a window of contest dates, both inside, and how many problems it must hold."""

    first: str = MISSING
    last: str = MISSING
    rows: int = MISSING


@dataclass
class TrainConfig:
    """Rules for training problems."""

    min_tests: int = MISSING
    max_test_bytes: int = MISSING
    max_tests: int | None = MISSING
    time_limit_s: float | None = MISSING
    max_references: int = MISSING
    near_duplicate: float = MISSING
    overlap_share: float = MISSING
    overlap_examples: int = MISSING


@dataclass
class ReferencesConfig:
    run: bool = MISSING


@dataclass
class CurateConfig:
    """One curation. ``sources`` are the facts of each set, ``source`` says where the user has it."""

    source: dict[str, str | None] = MISSING
    sources: dict[str, SourceConfig] = MISSING
    out: str | None = MISSING
    workers: int | None = MISSING
    evaluation: EvaluationConfig = MISSING
    train: TrainConfig = MISSING
    references: ReferencesConfig = MISSING
    verify: VerifyConfig = MISSING

    @property
    def num_workers(self) -> int:
        return self.workers or len(os.sched_getaffinity(0))

    @property
    def verifier(self) -> VerifyConfig:
        """The settings of the verifier; a local one has a sandbox for each worker."""
        return replace(self.verify, workers=self.num_workers) if self.verify.backend == "local" else self.verify

    @property
    def used(self) -> dict[str, str]:
        """Where the sources that are used stand, in the order of the table of sources."""
        return {name: self.source[name] for name in SOURCES if self.source.get(name)}


POSITIVE = ("min_tests", "max_test_bytes", "max_references", "overlap_examples")


def parse_curation(values: dict[str, Any]) -> CurateConfig:
    """Check a composed configuration.

    Raises:
        UserError: naming the first key that breaks a rule.
    """
    names = set(CurateConfig.__dataclass_fields__)
    config: CurateConfig = section(CurateConfig, {key: values[key] for key in values if key in names}, "")
    for name in config.source:
        if name not in SOURCES:
            raise UserError(f"source.{name} is unknown: use one of {', '.join(SOURCES)}")
    if config.out is None:
        raise UserError("out is missing: give out=DIR, a new directory")
    if EVALUATION_SOURCE not in config.used:
        raise UserError(
            f"source.{EVALUATION_SOURCE} is missing: give it as well, because training must be disjoint from it"
        )
    if len(config.used) == 1:
        raise UserError(f"no training set is named: give one of {', '.join(f'source.{name}=DIR' for name in SOURCES)}")
    for key in POSITIVE:
        if getattr(config.train, key) < 1:
            raise UserError(f"train.{key} must be 1 or more, not {getattr(config.train, key)}")
    for key in ("near_duplicate", "overlap_share"):
        if not 0 < getattr(config.train, key) <= 1 or not math.isfinite(getattr(config.train, key)):
            raise UserError(f"train.{key} must be above 0 and at most 1, not {getattr(config.train, key)}")
    if config.train.max_tests is not None and config.train.max_tests < config.train.min_tests:
        raise UserError(f"train.max_tests={config.train.max_tests} is below train.min_tests: raise it, or give null")
    limit_s = config.train.time_limit_s
    if limit_s is not None and not 0 < limit_s < math.inf:
        raise UserError(f"train.time_limit_s={limit_s} must be a number of seconds above 0, or null")
    if config.workers is not None and config.workers < 1:
        raise UserError(f"workers must be 1 or more, not {config.workers}")
    return config
