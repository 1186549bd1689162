"""Which of a run's servers are alive, and requests to all of them."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Callable, Collection, Sequence
from typing import Any

from ablate.config import EngineConfig
from ablate.errors import UserError
from ablate.rollout.engine import TooFewServers
from ablate.rollout.servers.dispatch import ServerFailed
from ablate.rollout.servers.http import CONNECT_TIMEOUT_S, call, http_session, ignore, on_each, while_well


class ServerPool:
    """The servers at ``config.urls``: those that are ``live``, and those that failed since the last weight update."""

    def __init__(self, config: EngineConfig) -> None:
        self.urls = list(config.urls)
        self.live = list(config.urls)
        self.retired: dict[str, ServerFailed] = {}  # and why
        self._silence_s, self._load_limit_s = config.silence_s, config.load_limit_s
        self._min_live_share = config.min_live_share

    def rejoin(self, without: Collection[str] = ()) -> list[str]:
        """Let retired servers that answer take part again, and return them: they need weights and positions.

        Args:
            without: servers that stay retired.
        """
        asked = [url for url in self.retired if url not in without]
        alive = self.ask(asked, "/collective_rpc", {"method": "is_alive"}, timeout_s=CONNECT_TIMEOUT_S)
        back = [url for url, answer in alive.items() if not isinstance(answer, ServerFailed)]
        self.retired = {url: error for url, error in self.retired.items() if url not in back}
        self.live = [url for url in self.urls if url in self.live or url in back]
        return back

    def retire(self, url: str, error: ServerFailed) -> None:
        """Ask nothing more of a server until it rejoins."""
        if url in self.live:
            self.live.remove(url)
            self.retired[url] = error
            print(f"a server is out until the next weight update: {error}", file=sys.stderr, flush=True)

    def put_to_sleep(self) -> None:
        """Let all servers free their GPUs, also those that are retired: a rank of the trainer needs the memory.

        Raises:
            TooFewServers: if a server may still hold its memory, because it neither obeys nor is gone.
        """
        for url, answer in self.ask(self.urls, "/sleep?level=2&mode=abort", {}).items():
            if isinstance(answer, ServerFailed):
                self.retire(url, answer)
                if not answer.is_gone:
                    raise TooFewServers(
                        f"a server may hold the memory of a GPU that it shares with the trainer: {answer}; the job has "
                        "to begin again"
                    )

    def wake(self, tag: str) -> None:
        """Give every live server memory again, for its ``weights`` or its ``kv_cache``, empty."""
        self.post(self.live, f"/wake_up?tags={tag}", {})

    def check_enough(self) -> None:
        """Raise ``TooFewServers`` if fewer are alive than ``rollout.engine.min_live_share`` asks for.

        Raises:
            UserError: if every server gave an answer that it would give again: it would do so in the next job too.
        """
        if not self.live and all(error.is_refusal for error in self.retired.values()):
            last = list(self.retired.values())[-1]
            raise UserError(f"no server is left, because each gave a wrong answer: {last}")
        floor = max(1, math.ceil(self._min_live_share * len(self.urls)))
        if len(self.live) < floor:
            raise TooFewServers(
                f"{len(self.live)} of {len(self.urls)} servers are left, and rollout.engine.min_live_share="
                f"{self._min_live_share:g} asks for {floor}"
            )

    def ask(
        self,
        urls: Sequence[str],
        route: str,
        body: dict[str, Any] | None = None,
        *,
        timeout_s: float | None = None,
        read: Callable[[bytes], Any] = ignore,
        is_long: bool = False,
    ) -> dict[str, Any]:
        """What ``read`` makes of each server's answer, or the ``ServerFailed`` that came in its place.

        Args:
            is_long: the answer may take ``rollout.engine.load_limit_s``, as long as the server says that it is well.
        """

        async def ask_all() -> dict[str, Any]:
            async with http_session() as session:
                limit_s = timeout_s or (self._load_limit_s if is_long else self._silence_s)

                async def ask(url: str) -> Any:
                    answer = call(session, f"{url}{route}", body, timeout_s=limit_s, read=read)
                    return await (while_well(answer, session, url, self._silence_s) if is_long else answer)

                return await on_each(urls, ask)

        return asyncio.run(ask_all()) if urls else {}

    def post(
        self,
        urls: Sequence[str],
        route: str,
        body: dict[str, Any],
        *,
        read: Callable[[bytes], Any] = ignore,
        is_long: bool = False,
    ) -> dict[str, Any]:
        """POST to these servers; retire those that fail and return the answers of the others.

        Raises:
            UserError: if every live server answers with an error: the request is at fault, not the servers.
        """
        answers = self.ask(list(urls), route, body, read=read, is_long=is_long)
        failures = {url: answer for url, answer in answers.items() if isinstance(answer, ServerFailed)}
        if failures and failures.keys() >= set(self.live) and all(error.answered for error in failures.values()):
            raise UserError("; ".join(map(str, failures.values())))
        for url, error in failures.items():
            self.retire(url, error)
        return {url: answer for url, answer in answers.items() if url not in failures}
