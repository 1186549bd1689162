"""``parallel.megatron``: a user's own fields of Megatron's ``TransformerConfig``, or of its ``OptimizerConfig``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, TypeVar

from ablate.errors import UserError
from ablate.trainer import cpu

cpu.import_megatron()

from megatron.core.optimizer import OptimizerConfig  # noqa: E402
from megatron.core.transformer.transformer_config import TransformerConfig  # noqa: E402

Config = TypeVar("Config", TransformerConfig, OptimizerConfig)
# Fields that the project leaves at Megatron's default, and that the trainer, its weights or its checkpoints depend on.
REFUSED = {
    TransformerConfig: (
        "fp16",
        "num_moe_experts",
        "multi_latent_attention",
        "mtp_num_layers",
        "virtual_pipeline_model_parallel_size",
        "expert_model_parallel_size",
        "timers",
        *("finalize_model_grads_func", "grad_scale_func", "no_sync_func", "grad_sync_func", "param_sync_func"),
    ),
    OptimizerConfig: ("fp16", "timers"),
}


def built(kind: type[Config], own: Mapping[str, Any], user: Mapping[str, Any]) -> Config:
    """A configuration of Megatron's from what the project sets and what the user adds.

    A field that both configurations have goes to the model's, which comes first.

    Args:
        user: ``parallel.megatron``, whole: its fields of the other kind are left to that.

    Raises:
        UserError: for an unknown field, one that the project sets, and what Megatron refuses.
    """
    mine = {name: value for name, value in user.items() if kind_of(name, value) is kind}
    for name in mine:
        if name in own or name in REFUSED[kind]:
            raise UserError(
                f"parallel.megatron.{name} is set by the project: leave it out, and change the key of parallel, optim "
                "or model that means the same, if there is one"
            )
    try:
        return kind(**own, **mine)
    except (ValueError, AssertionError, TypeError, RuntimeError) as error:
        if not mine:
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"parallel.megatron={mine}: Megatron says: {reason}: fix the value") from error


def kind_of(name: str, value: Any) -> type:
    """Which configuration a field belongs to; raises ``UserError`` for none, and for a value of another type."""
    for kind in (TransformerConfig, OptimizerConfig):
        defaults = {field.name: field.default for field in fields(kind)}
        if name in defaults:
            default = defaults[name]
            if isinstance(default, bool | int | float | str) and not fits(value, default):
                raise UserError(f"parallel.megatron.{name}={value} must be like Megatron's default {default}: fix it")
            return kind
    known = [field.name for kind in REFUSED for field in fields(kind)]
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else "see Megatron's TransformerConfig and OptimizerConfig"
    raise UserError(f"parallel.megatron.{name} is no field of Megatron's: {hint}")


def fits(value: Any, default: Any) -> bool:
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    return isinstance(value, int | float) if isinstance(default, int | float) else isinstance(value, str)
