"""Whether a response can be an engine's answer to a request: one check, for servers and for an engine on this machine.

Without it a run would train to its end on whatever an engine sends.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from ablate.rollout.engine import Request, Sampled

ROUNDING = 1e-4  # nats: log(softmax) of the likeliest token in float32 may exceed 0 by a few 1e-7
NEVER_SAMPLED = -9999.0  # vLLM's servers write it in place of minus infinity, which JSON does not have


class WrongAnswer(Exception):
    """No engine that does what it was told to gives this answer to this request."""


@dataclass(frozen=True)
class AnswerCheck:
    """What every answer of one model obeys. A batch of it takes less time than one token of its responses.

    Args:
        stop_ids: the tokens that end a response.
        vocab_size: of the model, whose head may have more rows than the tokenizer has tokens.
    """

    stop_ids: Collection[int]
    vocab_size: int

    def check(self, request: Request, sampled: Sampled, prompt_ids: Sequence[int]) -> Sampled:
        """Return the response if it can be the answer.

        Args:
            prompt_ids: the prompt as the engine names it in its answer.

        Raises:
            WrongAnswer: with what is wrong, for the end of a sentence.
        """
        fault = self._fault(request, sampled, prompt_ids)
        if fault is not None:
            raise WrongAnswer(fault)
        return sampled

    def _fault(self, request: Request, sampled: Sampled, prompt_ids: Sequence[int]) -> str | None:
        ids, logp = np.asarray(sampled.response_ids), np.asarray(sampled.logp)
        if len(prompt_ids) != len(request.prompt_ids) or tuple(prompt_ids) != request.prompt_ids:
            return "an answer to another prompt"
        if len(ids) != len(logp):
            return f"{len(logp)} log-probabilities for {len(ids)} tokens"
        if not len(ids):
            return "an answer without a token"
        if len(ids) > request.max_new_tokens:
            return f"{len(ids)} tokens, where max_tokens was {request.max_new_tokens}"
        return fault_of_values(ids, logp, self.vocab_size) or self._fault_of_end(request, ids, sampled.finished)

    def _fault_of_end(self, request: Request, ids: np.ndarray, finished: bool) -> str | None:
        stops = np.isin(ids, list(self.stop_ids))
        if stops[:-1].any():
            return f"tokens after the end token {ids[:-1][stops[:-1]][0]}"
        if finished and not stops[-1]:
            return f"a stop at token {ids[-1]}, which is no end token"
        if not finished and (stops[-1] or len(ids) < request.max_new_tokens):
            return f"an answer that was cut at {len(ids)} tokens, where max_tokens was {request.max_new_tokens}"
        return None


def fault_of_values(ids: np.ndarray, logp: np.ndarray, vocab_size: int) -> str | None:
    """What no model with this vocabulary can have sampled."""
    if ids.min() < 0 or ids.max() >= vocab_size:
        return f"token {ids[(ids < 0) | (ids >= vocab_size)][0]}, and the model has {vocab_size}"
    possible = (logp <= ROUNDING) & (logp > NEVER_SAMPLED)  # one comparison that nan fails too
    return None if possible.all() else f"the log-probability {logp[~possible][0]:g}"
