"""Finished samples on disk: an evaluation that was interrupted samples only what is missing."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.process.preemption import raise_if_preempted
from ablate.rollout.engine import Engine, OnFinish, Request, Sampled

if TYPE_CHECKING:
    from torch import Tensor


class KeepingEngine:
    """Writes every finished sample to ``path``, and answers a request that is there already without sampling.

    A sample is a function of its request and the weights, so the caller must use another ``path`` for every set of
    weights. Log-probabilities are not kept: an evaluation uses none. 454 problems x 16 samples x 20,000 tokens
    are about 1 GB.
    """

    def __init__(self, engine: Engine, path: Path) -> None:
        self.engine, self.path = engine, path

    def load_weights(self, weights: Iterable[tuple[str, Tensor]] | Path | str) -> None:
        self.engine.load_weights(weights)

    def use_context(self, context_length: int) -> None:
        self.engine.use_context(context_length)

    def sample(self, requests: Sequence[Request], on_finish: OnFinish) -> None:
        """Sample the requests that are not in the file; see ``Engine``. The samples in the file are finished first."""
        kept = read_samples(self.path)
        digests = {request.key: digest_of(request) for request in requests}
        for request in requests:
            if digests[request.key] in kept:
                raise_if_preempted()
                on_finish(request.key, kept[digests[request.key]])
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write("\n")  # ends a line that a kill left half-written

            def keep(key: Hashable, sampled: Sampled) -> None:
                file.write(line_of(digests[key], sampled))
                file.flush()
                on_finish(key, sampled)

            self.engine.sample([request for request in requests if digests[request.key] not in kept], keep)

    def close(self) -> None:
        self.engine.close()


def digest_of(request: Request) -> str:
    """Names everything that decides what is sampled, apart from the weights."""
    decides = [request.prompt_ids, request.seed, request.max_new_tokens, request.temperature, request.top_p]
    return hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:24]


def line_of(digest: str, sampled: Sampled) -> str:
    values = {"digest": digest, "ids": list(sampled.response_ids), "finished": sampled.finished}
    return json.dumps(values, separators=(",", ":")) + "\n"


def read_samples(path: Path) -> dict[str, Sampled]:
    """The whole lines of a file of samples, by digest; none if there is no file."""
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", errors="replace") as file:
        rows = [row for line in file if (row := parsed(line)) is not None]
    return {row["digest"]: Sampled(array("i", row["ids"]), array("d"), row["finished"]) for row in rows}


def parsed(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None
