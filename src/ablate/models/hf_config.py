"""A Hugging Face model directory's config.json, as transformers 4 and 5 write it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ablate.errors import UserError


def read_hf_config(model_dir: Path) -> dict[str, Any]:
    """Read ``model_dir/config.json``.

    Raises:
        UserError: when there is no such file, or it is not a JSON object.
    """
    path = Path(model_dir) / "config.json"
    if not path.is_file():
        raise UserError(f"{path} does not exist: model.path must be a Hugging Face model directory")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}): fetch the model again") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} is not a JSON object: fetch the model again")
    return values


def rope_theta(hf_config: dict[str, Any]) -> float:
    """transformers 5 writes ``rope_parameters.rope_theta``; transformers 4 wrote ``rope_theta`` at the top.

    Raises:
        UserError: when the file has neither.
    """
    nested = hf_config.get("rope_parameters") or {}
    theta = nested.get("rope_theta", hf_config.get("rope_theta"))
    if theta is None:
        raise UserError("the model's config.json has no rope_theta, at the top or in rope_parameters: add it")
    return theta


def yarn_betas(hf_config: dict[str, Any]) -> dict[str, float]:
    """``beta_fast`` and ``beta_slow`` of a model that has its own; empty for a model that uses the paper's.

    A tiny model's config.json has them as ``yarn_beta_fast`` and ``yarn_beta_slow`` (see conf/model/tiny.yaml).
    """
    names = ("beta_fast", "beta_slow")
    return {name: hf_config[f"yarn_{name}"] for name in names if f"yarn_{name}" in hf_config}


def yarn_factor(context_length: int, original_context: int) -> float:
    """How far positions are stretched (YaRN, arXiv 2309.00071); 1 within the context that the weights know."""
    return max(1.0, context_length / original_context)


def stretched(hf_config: dict[str, Any], context_length: int, original_context: int) -> dict[str, Any]:
    """The settings that stretch a model's positions to ``context_length`` by YaRN; empty for a factor of 1.

    vLLM needs every one of them: without ``rope_theta`` it falls back to 10,000, and without
    ``max_position_embeddings`` its table of rotations ends at the original context.
    """
    factor = yarn_factor(context_length, original_context)
    if factor == 1:
        return {}
    return {
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": rope_theta(hf_config),
            "factor": factor,
            "original_max_position_embeddings": original_context,
            **yarn_betas(hf_config),
        },
        "max_position_embeddings": context_length,
    }
