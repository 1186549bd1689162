"""The sampling engine: vLLM, in this process (``mode: inline``) or in a process of its own (``mode: child``).

One step of the loop is ``load_weights`` and ``sample``: requests are added, ``step()`` is called until all have ended,
and each completion is handed on in the very step in which it ends.

``inline`` shares ``torch.distributed`` with the trainer: whoever comes first makes a world of one process and the
other uses it (the trainer must ask ``torch.distributed.is_initialized()``). Under torchrun the trainer's world has
more than one process, and the engine must be a child.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.config import EngineConfig
from ablate.errors import UserError
from ablate.rollout.engine import Engine, OnFinish, Request, Sampled
from ablate.rollout.environment import caller_unchanged, environment_for_children, prepare_environment

if TYPE_CHECKING:
    from torch import Tensor
    from vllm.v1.engine.llm_engine import LLMEngine

GIB = 1024**3
CPU_TOKENS_PER_STEP = 8192  # prompts and single next tokens of one engine step; any whole prompt must fit
# Memory-backed on Linux: a child reads the trainer's weights from here without touching a disk.
SHARED_MEMORY_DIR = "/dev/shm"

_open_engines: dict[str, VllmEngine] = {}


def open_engine(
    model_dir: Path | str,
    config: EngineConfig,
    context_length: int,
    yarn_factor: float,
    original_context: int,
) -> Engine:
    """Return the engine with these settings, starting it from ``model_dir`` unless this process has it open already.

    An engine that was open keeps the weights that it was given last: load weights before you sample.

    Args:
        model_dir: a Hugging Face directory.
        context_length: tokens of prompt and response together.
        yarn_factor: 1 for none; else positions are stretched by this factor (YaRN, arXiv 2309.00071).
        original_context: positions the weights were trained for; used by YaRN only.

    Raises:
        UserError: if ``inline`` is asked for inside a world of several processes, or ``model_dir`` is no model.
    """
    model_dir = Path(model_dir)
    hf_config = read_hf_config(model_dir)
    settings = [hf_config, eos_ids(model_dir, hf_config), asdict(config), context_length, yarn_factor, original_context]
    key = json.dumps(settings, sort_keys=True)
    if key not in _open_engines:
        overrides = yarn_overrides(hf_config, context_length, yarn_factor, original_context)
        llm = start(model_dir, config, context_length, overrides)
        _open_engines[key] = VllmEngine(llm, config.mode, eos_ids(model_dir, hf_config))
    return _open_engines[key]


def close_engines() -> None:
    """Close every engine that ``open_engine`` made in this process."""
    while _open_engines:
        _open_engines.popitem()[1].close()


class VllmEngine:
    """One vLLM engine core, driven request by request."""

    def __init__(self, llm: LLMEngine, mode: str, stop_ids: list[int]) -> None:
        self._llm = llm
        self._mode = mode
        self._stop_ids = stop_ids

    def load_weights(self, weights: Iterable[tuple[str, Tensor]] | Path | str) -> None:
        """Replace the weights in place; see ``Engine``."""
        if isinstance(weights, str | Path):
            self._llm.collective_rpc("replace_weights_from_directory", args=(str(weights),))
        elif self._mode == "inline":
            self._llm.collective_rpc("replace_weights", args=(iter(weights),))
        else:
            self._load_through_file(weights)
        # Keys and values of the old weights must not serve a new prompt.
        self._llm.reset_prefix_cache()

    def _load_through_file(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        import torch

        directory = SHARED_MEMORY_DIR if Path(SHARED_MEMORY_DIR).is_dir() else None
        with tempfile.TemporaryDirectory(prefix="ablate-weights-", dir=directory) as scratch:
            path = Path(scratch) / "weights.pt"
            # clone: a view would write the whole storage it looks into
            torch.save({name: tensor.detach().cpu().clone() for name, tensor in weights}, path)
            self._llm.collective_rpc("replace_weights_from_file", args=(str(path),))

    def sample(self, requests: Sequence[Request], on_finish: OnFinish) -> None:
        """Sample every request; see ``Engine``."""
        with caller_unchanged():
            self._sample(requests, on_finish)

    def _sample(self, requests: Sequence[Request], on_finish: OnFinish) -> None:
        try:
            for index, request in enumerate(requests):
                self._add(str(index), request)
            while self._llm.has_unfinished_requests():
                for output in self._llm.step():
                    completion = output.outputs[0]
                    sampled = Sampled(
                        response_ids=tuple(completion.token_ids),
                        logp=tuple(completion.logprobs.logprobs),
                        finished=completion.finish_reason == "stop",
                    )
                    on_finish(requests[int(output.request_id)].key, sampled)
        finally:
            # Only after an exception is anything left; the engine must be clean for whoever goes on.
            if self._llm.has_unfinished_requests():
                self._llm.abort_request([str(index) for index in range(len(requests))])

    def _add(self, request_id: str, request: Request) -> None:
        from vllm import SamplingParams
        from vllm.inputs.engine import tokens_input
        from vllm.sampling_params import RequestOutputKind

        params = SamplingParams(
            temperature=request.temperature,
            top_p=request.top_p,
            seed=request.seed,
            max_tokens=request.max_new_tokens,
            stop_token_ids=self._stop_ids,
            logprobs=0,  # of the sampled token, no others
            flat_logprobs=True,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        self._llm.add_request(request_id, tokens_input(list(request.prompt_ids)), params)

    def close(self) -> None:
        """End the child process; an inline engine only lets go of its memory.

        vLLM's own shutdown of an in-process engine destroys ``torch.distributed``, the trainer's world included.
        """
        if self._mode == "child":
            self._llm.engine_core.shutdown()
        del self._llm


def start(model_dir: Path, config: EngineConfig, context_length: int, overrides: dict[str, Any]) -> LLMEngine:
    """Start vLLM on ``model_dir``; takes about 6 s, most of it imports."""
    import torch

    check_world(config)
    prepare_environment(config)
    if torch.cuda.is_available():
        close_engines()  # each one takes its share of the whole device: two do not fit
    with caller_unchanged(), environment_for_children():
        from vllm.engine.arg_utils import EngineArgs
        from vllm.v1.engine.llm_engine import LLMEngine
        from vllm.v1.executor import Executor

        args = EngineArgs(
            model=str(model_dir),
            skip_tokenizer_init=True,  # token ids in, token ids out
            generation_config="vllm",  # not the model's own temperature, top_p, top_k
            dtype=config.dtype,
            max_model_len=context_length,
            max_num_seqs=config.max_num_seqs,
            tensor_parallel_size=config.tensor_parallel,
            gpu_memory_utilization=config.gpu_memory_utilization,
            **({} if torch.cuda.is_available() else cpu_arguments(config, context_length)),
            enforce_eager=config.enforce_eager,
            enable_prefix_caching=config.prefix_caching,
            logprobs_mode="processed_logprobs",  # after temperature: what was sampled from
            hf_overrides=overrides,
            worker_extension_cls="ablate.rollout.worker.WeightReplacement",
            use_tqdm_on_load=False,
            disable_log_stats=True,
        )
        vllm_config = args.create_engine_config()
        llm = LLMEngine(
            vllm_config,
            Executor.get_class(vllm_config),
            log_stats=False,
            multiprocess_mode=config.mode == "child",
        )
    if config.mode == "inline":
        llm.engine_core._finalizer.detach()  # it would destroy torch.distributed: see VllmEngine.close
    return llm


def cpu_arguments(config: EngineConfig, context_length: int) -> dict[str, Any]:
    """What only vLLM's CPU backend is told.

    It cannot rewind the seeded generator of a request whose prompt was cut between two steps (vLLM 0.31: "CPU Generator
    does not use offset"), so prompts are never cut.
    """
    return {
        "kv_cache_memory_bytes": int(config.kv_cache_gib * GIB),
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(context_length, CPU_TOKENS_PER_STEP),
    }


def check_world(config: EngineConfig) -> None:
    """Refuse an in-process engine inside a world of several processes, where it would wait for ever."""
    import torch.distributed

    num_ranks = int(os.environ.get("WORLD_SIZE", "1"))
    if torch.distributed.is_initialized():
        num_ranks = torch.distributed.get_world_size()
    if config.mode == "inline" and num_ranks > 1:
        raise UserError(
            f"rollout.engine.mode=inline shares its process with a trainer of one rank, not of {num_ranks}: "
            "set rollout.engine.mode=child"
        )


def read_hf_config(model_dir: Path) -> dict[str, Any]:
    """Read a model directory's ``config.json``."""
    path = model_dir / "config.json"
    if not path.is_file():
        raise UserError(f"{model_dir} holds no config.json: model.path must be a Hugging Face directory")
    return json.loads(path.read_text())


def eos_ids(model_dir: Path, hf_config: dict[str, Any]) -> list[int]:
    """The tokens that end a response: those of ``generation_config.json`` (Qwen3 has two), else of ``config.json``."""
    path = model_dir / "generation_config.json"
    generation_config = json.loads(path.read_text()) if path.is_file() else {}
    ids = generation_config.get("eos_token_id", hf_config.get("eos_token_id"))
    if ids is None:
        raise UserError(f"{model_dir}/config.json names no eos_token_id, so no response could end: add it")
    return [ids] if isinstance(ids, int) else sorted(ids)


def yarn_overrides(
    hf_config: dict[str, Any], context_length: int, yarn_factor: float, original_context: int
) -> dict[str, Any]:
    """The Hugging Face settings that stretch positions by ``yarn_factor``; empty for a factor of 1.

    vLLM needs all of them: without ``rope_theta`` it falls back to 10,000, and without ``max_position_embeddings`` its
    table of rotations ends at the original context.

    Raises:
        UserError: for a context beyond the model's positions that is not to be stretched.
    """
    if yarn_factor == 1:
        num_positions = hf_config["max_position_embeddings"]
        if context_length > num_positions:
            raise UserError(
                f"a context of {context_length} tokens is beyond the {num_positions} positions of the model: lower "
                f"context.length, or set model.original_context={num_positions} to have positions stretched by YaRN"
            )
        return {}
    nested = hf_config.get("rope_parameters") or {}  # transformers 5; before, rope_theta stood at the top
    return {
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": nested.get("rope_theta", hf_config.get("rope_theta")),
            "factor": float(yarn_factor),
            "original_max_position_embeddings": original_context,
        },
        "max_position_embeddings": context_length,
    }
