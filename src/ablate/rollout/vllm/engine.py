"""vLLM as the sampling engine: in this process (``placement: inline``) or in a process of its own (``child``).

One batch is ``load_weights`` and ``sample``: requests are added, ``step()`` is called until every request has ended,
and each completion is handed on in the very step in which it ends. Between two steps requests may come and go.

``inline`` shares ``torch.distributed`` with the trainer. Whichever of the two initialises it first makes a world of one
process, and the other uses that world (the trainer must ask ``torch.distributed.is_initialized()``). Under torchrun the
trainer's world has more than one process, and the engine must be a child.
"""

from __future__ import annotations

import gc
from array import array
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ablate.config import EngineConfig
from ablate.errors import UserError
from ablate.models.hf_config import read_hf_config
from ablate.process.importing import without_collecting_garbage
from ablate.process.preemption import raise_if_preempted
from ablate.rollout.answer import AnswerCheck, WrongAnswer
from ablate.rollout.engine import Change, Engine, OnFinish, Request, Sampled, Steer
from ablate.rollout.servers.engine import ServerEngine
from ablate.rollout.vllm.child import death_in_one_sentence, report_death
from ablate.rollout.vllm.process import (
    caller_unchanged,
    children_end_with_us,
    environment_for_children,
    prepare_environment,
)
from ablate.rollout.vllm.running import Running
from ablate.rollout.vllm.settings import answer_check_of, engine_arguments, server_command, yarn_of
from ablate.rollout.vllm.user_arguments import check_not_set, checked_arguments
from ablate.rollout.weights.file import weights_file

if TYPE_CHECKING:
    from torch import Tensor
    from vllm.outputs import RequestOutput
    from vllm.v1.engine.llm_engine import LLMEngine


def open_vllm(model_dir: Path, config: EngineConfig, longest: int, original_context: int) -> Engine:
    """Start vLLM on ``model_dir``, or connect to its servers; see ``ablate.rollout.open.open_engine``."""
    hf_config = read_hf_config(model_dir)
    answer_check = answer_check_of(model_dir, hf_config)
    arguments = engine_arguments(config, longest, hf_config, on_cpu=not torch.cuda.is_available())
    check_not_set(arguments, config)
    parsed = checked_arguments(config)
    yarn = partial(yarn_of, hf_config, original_context=original_context)
    if config.placement == "servers":
        command = server_command(model_dir, arguments | config.args)
        return ServerEngine(config, yarn=yarn, longest=longest, answer_check=answer_check, server_command=command)
    return VllmEngine(start(model_dir, config, arguments | parsed), config, yarn, answer_check)


class VllmEngine:
    """One vLLM engine core, driven request by request.

    Args:
        yarn: YaRN's parameters for a context length, or None; see ``settings.yarn_of``.
    """

    def __init__(
        self,
        llm: LLMEngine,
        config: EngineConfig,
        yarn: Callable[[int], dict[str, Any] | None],
        answer_check: AnswerCheck,
    ) -> None:
        self._llm = llm
        self._placement = config.placement
        self._num_threads = config.num_threads
        self._max_num_seqs = config.max_num_seqs
        self._yarn = yarn
        self._used_yarn: dict[str, Any] | None = None
        self._answer_check = answer_check

    def use_context(self, context_length: int) -> None:
        """Stretch positions as this context needs it; see ``Engine``."""
        longest = self._llm.model_config.max_model_len
        if context_length > longest:
            raise UserError(f"a context of {context_length} tokens is beyond the {longest} that the engine serves")
        yarn = self._yarn(context_length)
        if yarn != self._used_yarn:
            with death_in_one_sentence():
                self._llm.collective_rpc("use_positions", args=(yarn,))
                self._drop_cached_prefixes()
            self._used_yarn = yarn

    def _drop_cached_prefixes(self) -> None:
        """Keys and values of other weights or positions must not serve a new prompt."""
        if not self._llm.reset_prefix_cache():
            raise RuntimeError("vLLM kept its prefix cache, because a request is still running")

    def load_weights(self, weights: Iterable[tuple[str, Tensor]] | Path | str) -> None:
        """Replace the weights in place; see ``Engine``."""
        with death_in_one_sentence():
            self._load_weights(weights)
            self._drop_cached_prefixes()

    def _load_weights(self, weights: Iterable[tuple[str, Tensor]] | Path | str) -> None:
        if isinstance(weights, str | Path):
            self._llm.collective_rpc("replace_weights_from_directory", args=(str(weights),))
        elif self._placement == "inline":
            self._llm.collective_rpc("replace_weights", args=(iter(weights),))
        else:
            with weights_file(weights, None) as path:
                self._llm.collective_rpc("replace_weights_from_file", args=(str(path),))

    def sample(self, requests: Sequence[Request], on_finish: OnFinish, steer: Steer = Change) -> None:
        """Sample every request; see ``Engine``."""
        with caller_unchanged(self._num_threads), death_in_one_sentence():
            self._sample(requests, on_finish, steer)

    def _sample(self, requests: Sequence[Request], on_finish: OnFinish, steer: Steer) -> None:
        ids: dict[Hashable, str] = {}  # of the requests that run, by their keys
        of_number: dict[str, Request] = {}
        numbers = count()
        running = Running(self._max_num_seqs)
        try:
            change = Change(added=requests)
            while True:
                for request in change.added:
                    number = str(next(numbers))
                    ids[request.key], of_number[number] = number, request
                    self._add(number, request)
                    running.add(number)
                aborted = [ids.pop(key) for key in change.aborted if key in ids]
                if aborted:
                    self._llm.abort_request(aborted)
                    running.abort(aborted)
                if not ids:
                    return
                raise_if_preempted()
                for output in self._llm.step():
                    request = of_number.pop(output.request_id)
                    del ids[request.key]
                    sampled = self._sampled(request, output)
                    running.end(output.request_id, len(sampled.response_ids))
                    on_finish(request.key, sampled)
                change = steer()
        finally:
            # Requests are left only after an exception; the engine must be clean for the next caller.
            if ids:
                self._llm.abort_request(list(ids.values()))
                running.abort(ids.values())

    def _sampled(self, request: Request, output: RequestOutput) -> Sampled:
        completion = output.outputs[0]
        sampled = Sampled(
            response_ids=array("i", completion.token_ids),
            logp=array("d", completion.logprobs.logprobs),
            finished=completion.finish_reason == "stop",
        )
        try:
            return self._answer_check.check(request, sampled, output.prompt_token_ids)
        except WrongAnswer as error:
            raise UserError(
                f"the engine gave {error} for the request {request.key}: the weights may be damaged or have diverged; "
                "continue from an older checkpoint, and lower optim.lr if they diverged"
            ) from error

    def _add(self, request_id: str, request: Request) -> None:
        from vllm import SamplingParams
        from vllm.inputs.engine import tokens_input
        from vllm.sampling_params import RequestOutputKind

        params = SamplingParams(
            temperature=request.temperature,
            top_p=request.top_p,
            seed=request.seed,
            max_tokens=request.max_new_tokens,
            stop_token_ids=list(self._answer_check.stop_ids),
            ignore_eos=True,  # vLLM's own choice of an end token: a server has one, and this engine has none
            logprobs=0,  # of the sampled token only
            flat_logprobs=True,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        self._llm.add_request(request_id, tokens_input(list(request.prompt_ids)), params)

    def close(self) -> None:
        """End the child process, or free an inline engine's memory: a GPU has to hold the next engine.

        vLLM's own shutdown of an in-process engine destroys ``torch.distributed``, the trainer's world included, so
        the engine's parts are shut down one by one. At its start vLLM froze the garbage collector's objects, its own
        among them; they are unfrozen here.
        """
        if self._placement == "child":
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
    prepare_environment(config)
    ending = children_end_with_us(imports="vllm.v1.engine.core")
    with caller_unchanged(config.num_threads), environment_for_children(config.num_threads), ending:
        with without_collecting_garbage():
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
            multiprocess_mode=config.placement == "child",
        )
    if not torch.cuda.is_available():
        llm.collective_rpc("use_norm_kernels")
    if config.placement == "child":
        report_death(llm.engine_core, config.silence_s)
        llm.collective_rpc("end_with_parent")
    if config.placement == "inline":
        llm.engine_core._finalizer.detach()  # it would destroy torch.distributed: see VllmEngine.close
    return llm
