"""Draws: one problem and its samples, the engine's requests for them, and their results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ablate.errors import UserError
from ablate.rollout.engine import Request, Sampled
from ablate.seeding import derive_seed
from ablate.types import Completion, Problem, Prompt

Decode = Callable[[Sequence[int]], str]  # token ids to text, special tokens removed
Task = tuple[Problem, Prompt]
Key = tuple[int, int]  # (number of the draw, index of the sample in the draw)


@dataclass(frozen=True)
class Draw:
    """One problem and the samples wanted of it.

    Example: ``Draw(problem, prompt, samples=(0, 1), seeds=(17, 99))``
    """

    problem: Problem
    prompt: Prompt
    samples: tuple[int, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Conditions:
    """How draws are sampled and verified.

    Example: ``Conditions(context_length=32768, temperature=1.0, top_p=1.0, infrastructure_retries=2)``
    """

    context_length: int  # tokens of prompt and response together
    temperature: float
    top_p: float
    infrastructure_retries: int  # per completion


def requests_of(draw: Draw, number: int, conditions: Conditions) -> list[Request]:
    """One request per sample of the draw with this number.

    Raises:
        UserError: if the prompt leaves no room for a response in the context.
    """
    room = conditions.context_length - len(draw.prompt.token_ids)
    if room <= 0:
        raise UserError(
            f"the prompt of problem {draw.problem.id} has {len(draw.prompt.token_ids)} tokens, which leaves no room "
            f"for a response in a context of {conditions.context_length}: raise the lengths of context.stages or set "
            "data.max_prompt_tokens"
        )
    return [
        Request((number, index), draw.prompt.token_ids, seed, room, conditions.temperature, conditions.top_p)
        for index, seed in enumerate(draw.seeds)
    ]


def completion_of(draw: Draw, sample_index: int, sampled: Sampled, decode: Decode) -> Completion:
    return Completion(
        problem_id=draw.problem.id,
        sample=draw.samples[sample_index],
        seed=draw.seeds[sample_index],
        prompt_ids=draw.prompt.token_ids,
        response_ids=sampled.response_ids,
        logp=sampled.logp,
        text=decode(sampled.response_ids),
        finished=sampled.finished,
        prompt_text=draw.prompt.text,
    )


def draw_samples(
    tasks: Sequence[Task], num_samples: int, seed_parts: tuple[int | str, ...], drawn: Counter
) -> list[Draw]:
    """Number and seed ``num_samples`` samples of each task; sample k of a problem has the seed of (parts, problem, k).

    ``drawn`` counts how often each problem was drawn before, and is updated in place: the samples of a problem that is
    drawn again continue the count, so no seed is used twice.
    """
    draws = []
    for problem, prompt in tasks:
        first = drawn[problem.id] * num_samples
        drawn[problem.id] += 1
        samples = tuple(range(first, first + num_samples))
        seeds = tuple(derive_seed(*seed_parts, problem.id, sample) for sample in samples)
        draws.append(Draw(problem, prompt, samples, seeds))
    return draws
