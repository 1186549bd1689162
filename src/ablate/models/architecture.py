"""The shape of a model: what its config.json and ``conf/model`` say, and how its positions are stretched."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ablate.errors import UserError
from ablate.models.families import FAMILIES, supported_families
from ablate.models.hf_config import read_hf_config, rope_theta, yarn_betas, yarn_factor


@dataclass(frozen=True)
class Architecture:
    """The shape of a model, as config.json says it and as ``conf/model`` may pin it.

    Example: Qwen3-14B has ``hidden_size == 5120``, ``num_layers == 40``, ``num_heads == 40``, ``num_kv_heads == 8``.
    """

    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    mlp_size: int
    norm_eps: float
    rope_theta: float
    tied_embeddings: bool
    family: str = "qwen3"  # a key of families.FAMILIES: model_type in config.json


@dataclass(frozen=True)
class Yarn:
    """YaRN (arXiv 2309.00071) as transformers and vLLM apply it, with the temperature 0.1 ln(factor) + 1.

    A frequency that turns more than ``beta_fast`` times within the original context stays as it is; a frequency that
    turns less than ``beta_slow`` times is stretched by the whole factor.
    """

    factor: float
    original_context: int  # positions the weights were trained for
    beta_fast: float
    beta_slow: float


WITHOUT = {  # keys of config.json -> the values with which the Megatron model computes what transformers computes
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "use_sliding_window": (False,),
    "hidden_act": ("silu",),
}
PAPER_BETAS = {"beta_fast": 32.0, "beta_slow": 1.0}  # the defaults of transformers and vLLM too


def pinned_architecture(values: Mapping[str, Any]) -> Architecture:
    """Check and return ``model.architecture`` of the configuration.

    Raises:
        UserError: for a field that is missing, unknown or of the wrong type.
    """
    kinds = {"int": int, "float": (int, float), "bool": bool}
    wanted = {field.name: field.type for field in fields(Architecture)}
    if set(values) | {"family"} != set(wanted):
        raise UserError(f"model.architecture has the keys {', '.join(wanted)}, not {', '.join(map(str, values))}")
    check_family(values.get("family", Architecture.family), "model.architecture.family")
    for name, kind in wanted.items():
        if name == "family":
            continue
        value = values[name]
        is_number = kind != "bool"
        if not isinstance(value, kinds[kind]) or (is_number and (isinstance(value, bool) or not 0 < value < math.inf)):
            needed = {"int": "a whole number above 0", "float": "a number above 0", "bool": "true or false"}[kind]
            raise UserError(f"model.architecture.{name} must be {needed}, not {value!r}")
    return Architecture(**values)


def yarn_for(model_dir: Path, context_length: int, original_context: int) -> Yarn | None:
    """YaRN with the ratio of the contexts as its factor; None if the weights were trained for ``context_length``."""
    if context_length <= original_context:
        return None
    betas = PAPER_BETAS | yarn_betas(read_hf_config(model_dir))
    return Yarn(factor=yarn_factor(context_length, original_context), original_context=original_context, **betas)


def check_family(name: Any, where: str) -> None:
    """Raise ``UserError`` with the families unless ``name`` is one of them. ``where``: the key that named it."""
    if name not in FAMILIES:
        raise UserError(f"{where}={name!r} is not a model that can be trained: choose one of {supported_families()}")


def read_architecture(model_dir: Path) -> Architecture:
    """Read ``config.json``.

    Raises:
        UserError: when the file is missing, or the model is of another family or has a part that no family here has.
    """
    values, path = read_hf_config(model_dir), Path(model_dir) / "config.json"
    check_family(values.get("model_type"), f"{path}: model_type")
    check_parts(values, path)
    try:
        return Architecture(
            vocab_size=values["vocab_size"],
            hidden_size=values["hidden_size"],
            num_layers=values["num_hidden_layers"],
            num_heads=values["num_attention_heads"],
            num_kv_heads=values["num_key_value_heads"],
            head_dim=values.get("head_dim") or values["hidden_size"] // values["num_attention_heads"],
            mlp_size=values["intermediate_size"],
            norm_eps=values["rms_norm_eps"],
            rope_theta=rope_theta(values),
            tied_embeddings=values["tie_word_embeddings"],
            family=values["model_type"],
        )
    except KeyError as error:
        raise UserError(
            f"{path} has no {error.args[0]}: take config.json from the checkpoint's own directory"
        ) from error


def check_parts(hf_config: Mapping[str, Any], path: Path) -> None:
    """Raise ``UserError`` for a part of a model that the Megatron model would leave out without a word."""
    for key, allowed in WITHOUT.items():
        if hf_config.get(key, allowed[0]) not in allowed:
            raise UserError(
                f"{path}: {key}={hf_config[key]!r} is not supported: choose a checkpoint where it is {allowed[0]!r}"
            )
    rope = hf_config.get("rope_parameters") or hf_config.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind not in ("default", "yarn"):
        raise UserError(f"{path}: rope_type={kind!r} is not supported: choose a checkpoint with default or yarn")


def check_same(pinned: Architecture, found: Architecture, model_dir: Path) -> None:
    """Raise ``UserError`` for the first field in which config.json is not the model that ``conf/model`` pins."""
    for field in fields(Architecture):
        ours, theirs = getattr(pinned, field.name), getattr(found, field.name)
        if ours != theirs:
            raise UserError(
                f"{model_dir / 'config.json'} says {field.name}={theirs}, but model.architecture.{field.name}={ours}: "
                "change model.path, or choose the model's own file of conf/model"
            )
