"""A group of rollouts as Atropos' ScoredDataGroup, and back.

A sequence is prompt and response together. ``masks`` holds -100 on the prompt and the token elsewhere,
``inference_logprobs`` 1.0 on the prompt. ``overrides`` says which advantages the trainer must set to zero; the server
only carries it. ``generation_params`` is free, and holds what this project needs to name the problem again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ablate.errors import UserError
from ablate.rollout.answer import fault_of_values
from ablate.types import Completion, Problem, RolloutGroup, Verdict, VerdictKind

PROMPT_MASK, PROMPT_LOGP = -100, 1.0
ZERO = "set_advantage_to_zero"


def to_scored(group: RolloutGroup, temperature: float) -> dict[str, Any]:
    """The body of ``/scored_data``; a response that the context limit cut off has its advantage set to zero."""
    completions = group.completions
    return {
        "tokens": [[*each.prompt_ids, *each.response_ids] for each in completions],
        "masks": [[PROMPT_MASK] * len(each.prompt_ids) + list(each.response_ids) for each in completions],
        "scores": list(group.rewards),
        "inference_logprobs": [[PROMPT_LOGP] * len(each.prompt_ids) + list(each.logp) for each in completions],
        "overrides": [{ZERO: not each.finished} for each in completions],
        "generation_params": {"problem_id": group.problem.id, "temperature": temperature},
    }


def to_group(
    scored: Mapping[str, Any],
    problems: Mapping[str, Problem],
    decode: Callable[[Sequence[int]], str],
    number: int,
    vocab_size: int,
) -> RolloutGroup:
    """A group that an environment posted; the inverse of ``to_scored`` where this project's environment did.

    Args:
        problems: by their ids. A group of another environment gets a problem of its own.
        number: of the group in this run, for its name.

    Raises:
        UserError: for a group without log-probabilities, with scores other than +1 and -1, or with what no model with
            this vocabulary can have sampled.
    """
    name = (scored.get("generation_params") or {}).get("problem_id") or f"atropos/{scored.get('env_id')}/{number}"
    problem = problems.get(name) or Problem(name, "", (), "unknown")
    if scored.get("inference_logprobs") is None:
        raise UserError(f"Atropos group {name} has no inference_logprobs: use an environment that posts them")
    if not set(scored["scores"]) <= {1.0, -1.0}:
        raise UserError(f"Atropos group {name} has the scores {scored['scores']}: this trainer knows +1 and -1 only")
    overrides = scored.get("overrides") or [{}] * len(scored["tokens"])
    columns = [scored["tokens"], scored["masks"], scored["inference_logprobs"], overrides]
    if len({*map(len, columns), len(scored["scores"])}) != 1 or not all(map(same_lengths, *columns[:3])):
        raise UserError(f"Atropos group {name} has lists of different lengths: an environment posts one value a token")
    rows = zip(*columns, strict=True)
    completions = []
    for sample, (tokens, mask, logp, override) in enumerate(rows):
        start = sum(each == PROMPT_MASK for each in mask)
        if any(each == PROMPT_MASK for each in mask[start:]):
            raise UserError(f"Atropos group {name} has several turns: this trainer knows a prompt and one response")
        prompt, response = tuple(tokens[:start]), tuple(tokens[start:])
        if not prompt or not response:
            raise UserError(f"Atropos group {name} has a sequence without a prompt or without a response")
        if fault := fault_of_values(np.array(tokens), np.array(logp[start:], dtype=float), vocab_size):
            raise UserError(f"Atropos group {name} has {fault}: no model of this run sampled it")
        finished = not (override or {}).get(ZERO, False)
        completions.append(
            Completion(name, sample, 0, prompt, response, tuple(logp[start:]), decode(response), finished)
        )
    verdicts = tuple(
        Verdict(VerdictKind.accepted if score > 0 else VerdictKind.wrong_answer, 0, 0, None, 0.0, 0.0, 0.0, "Atropos")
        for score in scored["scores"]
    )
    return RolloutGroup(problem, tuple(completions), verdicts)


def same_lengths(*lists: Sequence[Any]) -> bool:
    return len({len(each) for each in lists}) == 1
