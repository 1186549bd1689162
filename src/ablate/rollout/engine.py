"""What a sampling engine is: token ids in, token ids and log-probabilities out, weights replaced in place."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ablate.process.preemption import Preempted

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Request:
    """One completion to sample. ``key`` is chosen by the caller and comes back with the result."""

    key: Hashable
    prompt_ids: tuple[int, ...]
    seed: int  # decides alone what is sampled: neither the batch nor the order of requests matters
    max_new_tokens: int
    temperature: float
    top_p: float


@dataclass(frozen=True)
class Sampled:
    """The response to one request.

    ``logp[t]`` is the log-probability of ``response_ids[t]`` in nats under the distribution that was sampled from:
    after temperature and, where ``top_p`` is below 1, after its truncation. A finished response ends with its
    end-of-sequence token; an unfinished response reached ``max_new_tokens``.

    Both are arrays, because a rollout batch of millions of Python numbers is slow to hand to another process.

    Example: ``Sampled(response_ids=array("i", [7, 9, 2]), logp=array("d", [-0.1, -1.3, 0.0]), finished=True)``
    """

    response_ids: Sequence[int]
    logp: Sequence[float]
    finished: bool


OnFinish = Callable[[Hashable, Sampled], None]


@dataclass(frozen=True)
class Change:
    """A change while the engine samples: further requests, and the keys of those that are no longer needed.

    A key may name a request that has ended already.
    """

    added: Sequence[Request] = ()
    aborted: Collection[Hashable] = ()


Steer = Callable[[], Change]
STEER_EVERY_S = 0.1  # at the latest, where an engine does not sample step by step


class TooFewServers(Preempted):
    """Too few servers are left: the run stops, and is queued again."""


class WeightsIncomplete(Exception):
    """A server failed in the middle of a weight update, and the others need all weights again: load them once more."""


class Engine(Protocol):
    """A sampling engine with one set of weights."""

    def load_weights(self, weights: Iterable[tuple[str, Tensor]] | Path | str) -> None:
        """Replace the weights with ``(Hugging Face name, tensor)`` pairs, or with those of a Hugging Face directory."""

    def use_context(self, context_length: int) -> None:
        """Sample at this context from now on: its positions are stretched by YaRN where the model's own end before it.

        Raises:
            UserError: for a context that the engine was not started for.
        """

    def sample(self, requests: Sequence[Request], on_finish: OnFinish, steer: Steer = Change) -> None:
        """Sample every request; call ``on_finish(key, sampled)`` as soon as each one ends, while others still run.

        Args:
            steer: is asked again and again, in the caller's thread, what changes. ``sample`` returns when nothing is
                left to sample and ``steer`` adds nothing. ``on_finish`` is not called for an aborted request.

        Raises:
            Preempted: within a second or two of the signal, if the process is preempted (``noted_signals``).
        """

    def close(self) -> None:
        """Free what the engine holds; afterwards the engine cannot be used again."""
