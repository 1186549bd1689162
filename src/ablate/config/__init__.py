"""A run's configuration: what Hydra composed, checked and turned into dataclasses."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from ablate.config.checks import check
from ablate.config.schema import (
    CheckpointConfig,
    ComparisonConfig,
    ContextConfig,
    DataConfig,
    EngineConfig,
    EvalConfig,
    EvalContextConfig,
    HistoryConfig,
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
from ablate.nearest import did_you_mean

__all__ = [
    "CheckpointConfig",
    "ComparisonConfig",
    "ContextConfig",
    "DataConfig",
    "EngineConfig",
    "EvalConfig",
    "EvalContextConfig",
    "HistoryConfig",
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

SHORTHANDS = ("length", "steps")


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
        if isinstance(error, ConfigKeyError):
            known = [*keys_of(schema, name), *(f"context.{each}" for each in SHORTHANDS)]
            raise UserError(f"there is no key {key}{did_you_mean(key, known)}") from error
        reason = str(error.msg or error).strip().splitlines()[0]
        raise UserError(f"{key}: {reason}: fix the value in conf/ or on the command line") from error


def keys_of(schema: type, prefix: str) -> list[str]:
    """Every dotted key of a schema, sections included."""
    found = []
    for field in fields(schema):
        name = f"{prefix}.{field.name}".strip(".")
        kind = get_type_hints(schema)[field.name]
        found += [name, *(keys_of(kind, name) if is_dataclass(kind) else [])]
    return found


def without_shorthands(context: Any) -> dict[str, Any]:
    """The section ``context`` without ``length`` and ``steps``, which conf/context has for the command line.

    There they stand for the length of the last stage and the steps of each stage. Code and records know stages alone.
    """
    plain = OmegaConf.to_container(context, resolve=True)
    return {key: value for key, value in plain.items() if key not in SHORTHANDS}


def parse(values: Any) -> RunConfig:
    """Turn a composed Hydra configuration into a checked ``RunConfig``.

    Raises:
        UserError: naming the first key that breaks a rule, with the rule, the value and the fix.
    """
    plain = {key: value for key, value in values.items() if key != "hydra"}
    if OmegaConf.is_dict(values.get("context")):
        plain["context"] = without_shorthands(values.context)
    config = section(RunConfig, plain, "")
    check(config)
    return config
