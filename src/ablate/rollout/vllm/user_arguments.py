"""``rollout.engine.args``: a user's own arguments of vLLM, read by vLLM's own parser."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from ablate.config import EngineConfig
from ablate.errors import UserError
from ablate.rollout.vllm.process import prepare_environment
from ablate.rollout.vllm.settings import words_of

# What the project sets, and the key that a user changes instead; None where a run depends on the value.
SET_BY: dict[str, str | None] = {
    "model": "model.path",
    "dtype": "rollout.engine.dtype",
    "max_model_len": "context.length or eval.contexts",
    "max_num_seqs": "rollout.engine.max_num_seqs",
    "tensor_parallel_size": "rollout.engine.tensor_parallel",
    "gpu_memory_utilization": "rollout.engine.gpu_memory_utilization",
    "kv_cache_memory_bytes": "rollout.engine.kv_cache_gib",
    "kv_cache_dtype": "rollout.engine.kv_cache_dtype",
    "enable_sleep_mode": "rollout.engine.share_gpus",
    "enforce_eager": "rollout.engine.enforce_eager",
    "enable_prefix_caching": "rollout.engine.prefix_caching",
    "generation_config": None,
    "override_generation_config": None,
    "logprobs_mode": None,
    "worker_extension_cls": None,
    "weight_transfer_config": None,
    "hf_overrides": None,
    "skip_tokenizer_init": None,
    "disable_log_stats": None,
    "use_tqdm_on_load": None,
    "data_parallel_size": "the number of servers",
    "max_logprobs": None,
}


def checked_arguments(config: EngineConfig) -> dict[str, Any]:
    """The user's arguments by the names of vLLM's ``EngineArgs``, as vLLM's parser reads them.

    Raises:
        UserError: for a name or a value that vLLM refuses, and for what the project sets itself.
    """
    if not config.args:
        return {}
    for name in config.args:
        if name in SET_BY:
            instead = f"change {SET_BY[name]} instead" if SET_BY[name] else "leave it out, because runs depend on it"
            raise UserError(f"rollout.engine.args.{name} is set by the project: {instead}")
    prepare_environment(config)
    from vllm.engine.arg_utils import EngineArgs
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    class Parser(FlexibleArgumentParser):
        def error(self, message: str) -> None:
            raise UserError(f"rollout.engine.args: vLLM says: {' '.join(message.split())}: fix the value")

    known = EngineArgs.__dataclass_fields__
    for name in config.args:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "vllm serve --help=all lists them"
            raise UserError(f"rollout.engine.args.{name} is no argument of vLLM's engine: {hint}")
    parsed = EngineArgs.add_cli_args(Parser(add_help=False)).parse_args(words_of(config.args))
    return {name: getattr(parsed, name) for name in config.args}


def check_not_set(arguments: Mapping[str, Any], config: EngineConfig) -> None:
    """Raise ``UserError`` for what the project sets on this kind of machine, such as a budget of tokens on a CPU."""
    for name in arguments.keys() & config.args.keys():
        raise UserError(f"rollout.engine.args.{name} is set by the project on this machine: leave it out")
