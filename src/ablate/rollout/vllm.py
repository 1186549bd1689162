"""The sampling engine: vLLM, in this process (``mode: inline``), in one of its own (``child``), or behind a ``server``.

One step of the loop is ``load_weights`` and ``sample``: requests are added, ``step()`` is called until all have ended,
and each completion is handed on in the very step in which it ends.

``inline`` shares ``torch.distributed`` with the trainer: whoever comes first makes a world of one process and the
other uses it (the trainer must ask ``torch.distributed.is_initialized()``). Under torchrun the trainer's world has
more than one process, and the engine must be a child.
"""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed

from ablate.config import EngineConfig
from ablate.errors import UserError
from ablate.hf_config import read_hf_config
from ablate.rollout.engine import Engine, OnFinish, Request, Sampled
from ablate.rollout.environment import caller_unchanged, environment_for_children, prepare_environment
from ablate.rollout.server import ServerEngine
from ablate.rollout.settings import engine_arguments, eos_ids, serve_command, yarn_overrides
from ablate.rollout.weights_file import weights_file

if TYPE_CHECKING:
    from torch import Tensor
    from vllm.v1.engine.llm_engine import LLMEngine

_open_engines: dict[str, Engine] = {}


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
    if config.mode == "auto":
        config = replace(config, mode="child" if num_trainer_ranks() > 1 else "inline")
    hf_config = read_hf_config(model_dir)
    stop_ids = eos_ids(model_dir, hf_config)
    settings = [hf_config, stop_ids, asdict(config), context_length, yarn_factor, original_context]
    key = json.dumps(settings, sort_keys=True)
    if key not in _open_engines:
        overrides = yarn_overrides(hf_config, context_length, yarn_factor, original_context)
        arguments = engine_arguments(config, context_length, overrides, on_cpu=not torch.cuda.is_available())
        if config.mode == "server":
            _open_engines[key] = ServerEngine(
                config.urls,
                context_length=context_length,
                max_num_seqs=config.max_num_seqs,
                weights_dir=config.weights_dir,
                stop_ids=stop_ids,
                serve_command=serve_command(model_dir, arguments),
            )
        else:
            _open_engines[key] = VllmEngine(start(model_dir, config, arguments), config, stop_ids)
    return _open_engines[key]


def close_engines() -> None:
    """Close every engine that ``open_engine`` made in this process."""
    while _open_engines:
        _open_engines.popitem()[1].close()


class VllmEngine:
    """One vLLM engine core, driven request by request."""

    def __init__(self, llm: LLMEngine, config: EngineConfig, stop_ids: list[int]) -> None:
        self._llm = llm
        self._mode = config.mode
        self._num_threads = config.num_threads
        self._stop_ids = stop_ids

    def load_weights(self, weights: Iterable[tuple[str, Tensor]] | Path | str) -> None:
        """Replace the weights in place; see ``Engine``."""
        if isinstance(weights, str | Path):
            self._llm.collective_rpc("replace_weights_from_directory", args=(str(weights),))
        elif self._mode == "inline":
            self._llm.collective_rpc("replace_weights", args=(iter(weights),))
        else:
            with weights_file(weights, None) as path:
                self._llm.collective_rpc("replace_weights_from_file", args=(str(path),))
        # Keys and values of the old weights must not serve a new prompt.
        self._llm.reset_prefix_cache()

    def sample(self, requests: Sequence[Request], on_finish: OnFinish) -> None:
        """Sample every request; see ``Engine``."""
        with caller_unchanged(self._num_threads):
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
        """End the child process, or let go of an inline engine's memory: a GPU has to hold the next one.

        vLLM's own shutdown of an in-process engine destroys ``torch.distributed``, the trainer's world included: its
        parts are shut down instead. It also froze the garbage collector's objects, its own among them.
        """
        if self._mode == "child":
            self._llm.engine_core.shutdown()
            return
        core = self._llm.engine_core.engine_core
        core.model_executor.shutdown()
        core.scheduler.shutdown()
        del core, self._llm
        gc.unfreeze()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def start(model_dir: Path, config: EngineConfig, arguments: dict[str, Any]) -> LLMEngine:
    """Start vLLM on ``model_dir``; takes about 6 s, most of it imports."""
    check_world(config)
    prepare_environment(config)
    if one_at_a_time():
        close_engines()
    with caller_unchanged(config.num_threads), environment_for_children(config.num_threads):
        from vllm.engine.arg_utils import EngineArgs
        from vllm.v1.engine.llm_engine import LLMEngine
        from vllm.v1.executor import Executor

        args = EngineArgs(
            model=str(model_dir),
            skip_tokenizer_init=True,  # token ids in, token ids out
            use_tqdm_on_load=False,
            disable_log_stats=True,
            **arguments,
        )
        vllm_config = args.create_engine_config()
        llm = LLMEngine(
            vllm_config,
            Executor.get_class(vllm_config),
            log_stats=False,
            multiprocess_mode=config.mode == "child",
        )
    if not torch.cuda.is_available():
        llm.collective_rpc("use_norm_kernels")
    if config.mode == "child":
        llm.collective_rpc("end_with_parent")
    if config.mode == "inline":
        llm.engine_core._finalizer.detach()  # it would destroy torch.distributed: see VllmEngine.close
    return llm


def one_at_a_time() -> bool:
    """On a GPU each engine takes its share of the whole device: two do not fit."""
    return torch.cuda.is_available()


def check_world(config: EngineConfig) -> None:
    """Refuse an in-process engine inside a world of several processes, where it would wait for ever."""
    if config.mode == "inline" and num_trainer_ranks() > 1:
        raise UserError(
            f"rollout.engine.mode=inline shares its process with a trainer of one rank, not of {num_trainer_ranks()}: "
            "set rollout.engine.mode=child, or auto"
        )


def num_trainer_ranks() -> int:
    """Processes of the job, as the trainer has joined them or torchrun has started them."""
    if torch.distributed.is_initialized():
        return torch.distributed.get_world_size()
    return int(os.environ.get("WORLD_SIZE", "1"))
