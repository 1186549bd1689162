"""Open the engine that ``rollout.engine`` describes: its ``kind`` names the engine, its ``placement`` where it runs.

``placement``: ``inline`` (in this process), ``child`` (in a process of its own), ``servers`` (on other machines), or
``auto`` (``child`` where the trainer has several ranks, else ``inline``).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import torch
import torch.distributed

from ablate.config import EngineConfig
from ablate.errors import UserError
from ablate.models.hf_config import read_hf_config
from ablate.rollout.engine import Engine
from ablate.rollout.vllm.engine import open_vllm
from ablate.rollout.vllm.settings import eos_ids, yarn_of

# By rollout.engine.kind. Each takes (model_dir, config, longest context, original context); placement is never auto.
OPENERS: dict[str, Callable[[Path, EngineConfig, int, int], Engine]] = {"vllm": open_vllm}

_open_engines: dict[str, Engine] = {}


def open_engine(
    model_dir: Path | str,
    config: EngineConfig,
    context_length: int,
    original_context: int,
    longest: int | None = None,
) -> Engine:
    """Return the engine with these settings, ready to sample at ``context_length``.

    One engine serves every context up to ``longest``. It is started from ``model_dir`` unless this process has it open
    already, and then it keeps the weights that it was given last: load weights before you sample.

    Args:
        model_dir: a Hugging Face directory.
        context_length: tokens of prompt and response together.
        original_context: positions the weights were trained for; a longer context is stretched by YaRN.
        longest: the longest context that will be asked of this engine; None for ``context_length``.

    Raises:
        UserError: if ``inline`` is asked for inside a world of several processes, or ``model_dir`` is no model.
    """
    model_dir, longest = Path(model_dir), longest or context_length
    config = replace(config, placement=checked_placement(config.placement))
    hf_config = read_hf_config(model_dir)
    yarn_of(hf_config, context_length, original_context)  # refuses a wrong context before anything slow starts
    settings = [hf_config, eos_ids(model_dir, hf_config), asdict(config), longest, original_context]
    if config.share_gpus and config.placement != "servers":
        raise UserError(
            f"rollout.engine.share_gpus=true puts servers to sleep, and this engine is none (placement="
            f"{config.placement}): start servers (slurm/onenode.sbatch), or set rollout.engine.share_gpus=false"
        )
    key = json.dumps(settings, sort_keys=True)
    if key not in _open_engines:
        if config.placement != "servers" and one_at_a_time():
            close_engines()
        _open_engines[key] = OPENERS[config.kind](model_dir, config, longest, original_context)
    engine = _open_engines[key]
    engine.use_context(context_length)
    return engine


def put_engines_to_sleep() -> None:
    """Let every open engine free the GPUs that it shares with the trainer; see ``ServerEngine.sleep``."""
    for engine in _open_engines.values():
        engine.sleep()


def close_engines() -> None:
    """Close every engine that ``open_engine`` made in this process."""
    while _open_engines:
        _open_engines.popitem()[1].close()


def one_at_a_time() -> bool:
    """On a GPU each engine takes its share of the whole device, and two do not fit."""
    return torch.cuda.is_available()


def checked_placement(placement: str) -> str:
    """Choose for ``auto``, and refuse an in-process engine inside a world of several processes: it would hang."""
    num_ranks = num_trainer_ranks()
    if placement == "auto":
        return "child" if num_ranks > 1 else "inline"
    if placement == "inline" and num_ranks > 1:
        raise UserError(
            f"rollout.engine.placement=inline needs a trainer of one rank, not of {num_ranks}: "
            "set rollout.engine.placement=child, or auto"
        )
    return placement


def num_trainer_ranks() -> int:
    """Processes of the job, as the trainer has joined them or torchrun has started them."""
    if torch.distributed.is_initialized():
        return torch.distributed.get_world_size()
    return int(os.environ.get("WORLD_SIZE", "1"))
