"""A client of vLLM's servers on other machines (``placement: servers``): one pool, in which every server is the same.

The servers are started with ``python`` and the words of ``settings.server_command``. ``VLLM_SERVER_DEV_MODE=1`` in
their environment opens the routes that replace weights, and ``ABLATE_SERVER_TOKEN`` closes every route to clients that
do not know the job's token. The token travels unencrypted: the network between the nodes must be private.

A server that fails, hangs or disappears is retired: its requests go to the others, and it takes part again from
the next full weight update on, if it answers by then.
"""

from __future__ import annotations

import asyncio
import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ablate.config import EngineConfig
from ablate.errors import UserError
from ablate.process.activity import note_work
from ablate.process.preemption import unless_preempted
from ablate.rollout.answer import AnswerCheck
from ablate.rollout.engine import Change, OnFinish, Request, Sampled, Steer, WeightsIncomplete
from ablate.rollout.servers.broadcast import Broadcast, BroadcastFailed, ThroughMemory, Transfer
from ablate.rollout.servers.dispatch import Dispatch, ServerFailed
from ablate.rollout.servers.http import call, http_session
from ablate.rollout.servers.pool import ServerPool
from ablate.rollout.servers.protocol import (
    max_answer_bytes,
    read_cache_reset,
    read_models,
    read_sampled,
    read_weight_info,
)
from ablate.rollout.servers.same_weights import SameWeights, other_weights
from ablate.rollout.weights.file import weights_file

if TYPE_CHECKING:
    from aiohttp import ClientSession
    from torch import Tensor

    from ablate.rollout.weights.shared import SharedMessage

MAX_INTERRUPTIONS = 2  # a server that interrupts a weight update as often takes no part in it


class ServerEngine:
    """Samples on a pool of servers.

    Args:
        yarn: YaRN's parameters for a context length, or None; see ``settings.yarn_of``.
        longest: tokens of the longest context that every server has to serve.
        answer_check: what every answer has to obey.
        server_command: the words after ``python`` that start such a server, for the error message.

    Raises:
        UserError: if a server cannot be reached, or does not serve the longest context.
    """

    def __init__(
        self,
        config: EngineConfig,
        *,
        yarn: Callable[[int], dict[str, Any] | None],
        longest: int,
        answer_check: AnswerCheck,
        server_command: Sequence[str],
    ) -> None:
        if not config.urls:
            raise UserError("rollout.engine.placement=servers needs rollout.engine.urls=[http://HOST:PORT, ...]")
        self._config = config
        self._yarn = yarn
        self._longest = longest
        self._answer_check = answer_check
        self._pool = ServerPool(config)
        models = {url: answer.data[0] for url, answer in self._first_answers("/v1/models", read_models).items()}
        for url, model in models.items():
            if model.max_model_len < longest:
                raise UserError(
                    f"{url} serves {model.max_model_len} tokens, and the run's longest context is {longest}: start it "
                    f"with VLLM_SERVER_DEV_MODE=1 python {shlex.join(server_command)}"
                )
        self._first_answers("/weight_info", read_weight_info)  # a server without development routes is named now
        self._models = {url: model.id for url, model in models.items()}
        self._positions: dict[str, dict[str, Any] | None] = {}  # YaRN's parameters as each server has them now
        self._context = longest
        self._version: str | None = None  # of the weights; None until this client has loaded any
        self._transfer: Transfer | None = None
        self._interruptions: Counter[str] = Counter()  # by server, of the present update
        self._is_asleep = False
        if config.share_gpus:
            self.sleep()  # a server starts awake

    def _first_answers(self, route: str, read: Callable[[bytes], Any]) -> dict[str, Any]:
        answers = self._pool.ask(self._config.urls, route, read=read)
        for url, answer in answers.items():
            if isinstance(answer, ServerFailed):
                reason = "answers" if not answer.answered else "of this run answers"
                raise UserError(f"no server {reason} at {url} ({answer}): start it, or fix rollout.engine.urls")
        return answers

    # --- sampling ---------------------------------------------------------------------------------------------------

    def use_context(self, context_length: int) -> None:
        """Stretch positions on every server as this context needs it; see ``Engine``.

        Raises:
            TooFewServers: if fewer live servers are left than ``rollout.engine.min_live_share`` asks for.
        """
        if context_length > self._longest:
            raise UserError(
                f"a context of {context_length} tokens is beyond the {self._longest} that the servers serve"
            )
        self._context = context_length
        if not self._is_asleep:  # else the tables have no memory: ``load_weights`` writes them
            self._stretch()
        self._pool.check_enough()

    def _stretch(self, back: Sequence[str] = ()) -> None:
        """Write the rotations where others are, or where they are not known, as on the servers that came ``back``."""
        yarn = self._yarn(self._context)
        known = {url: positions for url, positions in self._positions.items() if url not in back}
        urls = [url for url in self._pool.live if url not in known or known[url] != yarn]
        changed = self._pool.post(urls, "/collective_rpc", {"method": "use_positions", "args": [yarn]})
        self._drop_cached_prefixes(changed)
        self._positions |= dict.fromkeys(changed, yarn)

    def sample(self, requests: Sequence[Request], on_finish: OnFinish, steer: Steer = Change) -> None:
        """Sample every request on some server; see ``Engine``.

        Raises:
            TooFewServers: if fewer live servers are left than ``rollout.engine.min_live_share`` asks for.
        """
        self._retire_other_weights()
        self._pool.check_enough()
        asyncio.run(unless_preempted(self._sample(requests, on_finish, steer)))

    async def _sample(self, requests: Sequence[Request], on_finish: OnFinish, steer: Steer) -> None:
        async with http_session() as session:

            async def version_of(url: str) -> str:
                limit_s = self._config.silence_s
                answer = await call(session, f"{url}/weight_info", timeout_s=limit_s, read=read_weight_info)
                return answer.weight_version

            same_weights = SameWeights(self._version, version_of)

            async def send(url: str, request: Request) -> Sampled:
                start, sampled = time.time(), None
                try:
                    answer = await call(
                        session,
                        f"{url}/v1/completions",
                        self._body(self._models[url], request),
                        timeout_s=self._limit_s(request),
                        read=read_sampled(url, request, self._answer_check),
                        max_bytes=max_answer_bytes(request),
                    )
                    await same_weights.confirm(url)
                    sampled = answer
                finally:
                    tokens = len(sampled.response_ids) if sampled else 0
                    note_work(url, start, tokens=tokens, is_aborted=sampled is None)
                return sampled

            def on_lost(url: str, error: ServerFailed) -> None:
                self._pool.retire(url, error)
                self._pool.check_enough()

            dispatch = Dispatch(
                list(self._pool.live),
                max_in_flight=self._config.max_num_seqs,
                send=send,
                watch=lambda url: self._watch(session, url),
                on_finish=on_finish,
                on_lost=on_lost,
            )
            await dispatch.run(requests, steer)

    def _limit_s(self, request: Request) -> float:
        """How long a server may take for a request: one that never answers it may still answer ``is_alive``."""
        num_tokens = len(request.prompt_ids) + request.max_new_tokens
        return self._config.silence_s + num_tokens / self._config.min_tokens_per_s

    async def _watch(self, session: ClientSession, url: str) -> None:
        """Raise ``ServerFailed`` once the server's workers have not answered for ``silence_s``."""
        while True:
            await asyncio.sleep(self._config.silence_s / 4)
            await call(session, f"{url}/collective_rpc", {"method": "is_alive"}, timeout_s=self._config.silence_s)

    def _body(self, model: str, request: Request) -> dict[str, Any]:
        return {
            "model": model,
            "prompt": list(request.prompt_ids),
            "seed": request.seed,
            "max_tokens": request.max_new_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "stop_token_ids": list(self._answer_check.stop_ids),
            "ignore_eos": True,  # the tokens above end a response, and no other
            "logprobs": 0,  # of the sampled token only
            "return_token_ids": True,
            # Keys and values of other weights or positions must not serve this prompt.
            "cache_salt": f"{self._version}-{self._context}",  # vLLM refuses "/" in it
        }

    def sleep(self) -> None:
        """Free the GPUs for the trainer, whose ranks share them, until the next weights come; see ``share_gpus``.

        Raises:
            TooFewServers: if a server may hold its memory all the same.
        """
        self._version, self._is_asleep = None, True
        self._pool.put_to_sleep()

    # --- weights ----------------------------------------------------------------------------------------------------

    def load_weights(self, weights: Iterable[tuple[str, Tensor]] | Path | str) -> None:
        """Replace the weights of every server; see ``Engine``. A directory must be one that the servers see.

        Raises:
            WeightsIncomplete: if a server failed in the middle of a broadcast; it is retired.
        """
        uses_file = self._config.weight_transfer == "file" and not isinstance(weights, str | Path)
        if uses_file and self._config.weights_dir is None:
            raise UserError(
                "rollout.engine.weight_transfer=file needs rollout.engine.weights_dir, a directory that the trainer "
                "and the servers share"
            )
        # A server whose GPU is lost still says that it is alive, and would interrupt this update for ever.
        given_up = [url for url, count in self._interruptions.items() if count >= MAX_INTERRUPTIONS]
        back = self._pool.rejoin(without=given_up)
        self._version = uuid4().hex  # never that of another run, whose servers these may have been
        if self._is_asleep:  # and paused; caches would take the memory in which the trainer gathers weights
            self._pool.wake("weights")
        else:
            self._pool.post(self._pool.live, "/pause?mode=abort", {})
        self._stretch(back)
        if isinstance(weights, str | Path):
            self._replace("replace_weights_from_directory", Path(weights))
        elif uses_file:
            with weights_file(weights, self._config.weights_dir) as path:
                self._replace("replace_weights_from_file", path)
        else:
            self._send(weights)
        if self._is_asleep:
            self._pool.wake("kv_cache")
            self._is_asleep = False
        self._drop_cached_prefixes(self._pool.live)
        self._retire_other_weights()
        self._pool.post(self._pool.live, "/resume", {})
        self._interruptions.clear()

    def _replace(self, method: str, path: Path) -> None:
        body = {"method": method, "args": [str(path)]}
        replaced = self._pool.post(self._pool.live, "/collective_rpc", body, is_long=True)
        self._pool.post(replaced, "/update_weight_version", {"new_version": self._version})

    def _send(self, weights: Iterable[tuple[str, Tensor]] | Iterable[SharedMessage]) -> None:
        if not self._pool.live:
            return  # sampling will say so
        if self._transfer is None or self._transfer.urls != self._pool.live:
            self._transfer = self._new_transfer(list(self._pool.live))
        try:
            self._transfer.send(weights, self._version)
        except BroadcastFailed as error:
            self._transfer = None
            self._interruptions.update(list(error.failures))
            for url, failure in error.failures.items():
                self._pool.retire(url, failure)
            raise WeightsIncomplete(str(error)) from error

    def _new_transfer(self, urls: list[str]) -> Transfer:
        config = self._config
        if config.share_gpus:
            return ThroughMemory(urls, config.silence_s)
        return Broadcast(urls, bucket_mib=config.bucket_mib, timeout_s=config.silence_s)

    def _drop_cached_prefixes(self, urls: Sequence[str]) -> None:
        for url, answer in self._pool.post(urls, "/reset_prefix_cache", {}, read=read_cache_reset).items():
            if not answer.success:  # a request still holds blocks of the cache
                self._pool.retire(url, ServerFailed(f"{url} kept its prefix cache"))

    def _retire_other_weights(self) -> None:
        """A server that was restarted, or missed an update, reports another version of the weights."""
        if self._version is None:
            return
        for url, answer in self._pool.ask(self._pool.live, "/weight_info", read=read_weight_info).items():
            if isinstance(answer, ServerFailed):
                self._pool.retire(url, answer)
            elif answer.weight_version != self._version:
                self._pool.retire(url, other_weights(url))

    def close(self) -> None:
        """There is nothing to close: the servers do not belong to this process."""
