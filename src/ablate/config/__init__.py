"""A run's configuration: what Hydra composed, checked and turned into dataclasses."""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ablate.config.checks import check
from ablate.config.schema import (
    CheckpointConfig,
    ComparisonConfig,
    ContextConfig,
    DataConfig,
    EngineConfig,
    EvalConfig,
    EvalContextConfig,
    LoggingConfig,
    LongerContextConfig,
    ModelConfig,
    OptimConfig,
    ParallelConfig,
    PathsConfig,
    RolloutConfig,
    RunConfig,
    StageConfig,
    VerifyConfig,
)
from ablate.errors import UserError

__all__ = [
    "CheckpointConfig",
    "ComparisonConfig",
    "ContextConfig",
    "DataConfig",
    "EngineConfig",
    "EvalConfig",
    "EvalContextConfig",
    "LoggingConfig",
    "LongerContextConfig",
    "ModelConfig",
    "OptimConfig",
    "ParallelConfig",
    "PathsConfig",
    "RolloutConfig",
    "RunConfig",
    "StageConfig",
    "VerifyConfig",
    "parse",
    "section",
]


def section(schema: type, values: Any, name: str) -> Any:
    """Check one group of the configuration against its schema and return it as a dataclass instance.

    Raises:
        UserError: for an unknown key, a missing value or a value of the wrong type, naming the key.
    """
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), values)
        return OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        key = f"{name}.{error.full_key}".strip(".") if error.full_key else name
        reason = str(error.msg or error).strip().splitlines()[0]
        raise UserError(f"{key}: {reason}: fix the value in conf/ or on the command line") from error


def parse(values: Any) -> RunConfig:
    """Turn a composed Hydra configuration into a checked ``RunConfig``.

    Raises:
        UserError: naming the first key that breaks a rule, with the rule, the value and the fix.
    """
    config = section(RunConfig, {k: v for k, v in values.items() if k != "hydra"}, "")
    check(config)
    return config
