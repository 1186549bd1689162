"""From prompts to judged groups: sample, judge each completion while others are still being sampled, group, refill.

What a step trains on is a function of (run seed, step) and the weights alone: seeds are derived from what they are
for, and groups are accepted in the order in which their problems were drawn, never in the order in which they ended.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from ablate.config import RolloutConfig
from ablate.errors import UserError
from ablate.rollout.engine import Engine, Request, Sampled
from ablate.rollout.judged import CollectStats, Judged, summarise, whole_groups
from ablate.seeding import derive_seed
from ablate.types import Completion, Problem, Prompt, RolloutGroup, Verdict


class Judge(Protocol):
    """The part of a verifier that is needed here; thread-safe."""

    def submit_answer(self, problem: Problem, text: str) -> Future[Verdict]:
        """Take the program out of ``text`` and run it on the tests of ``problem``."""


Decode = Callable[[Sequence[int]], str]  # token ids to text, special tokens removed
Task = tuple[Problem, Prompt]


@dataclass(frozen=True)
class Draw:
    """One problem and the samples wanted of it.

    Example: ``Draw(problem, prompt, samples=(0, 1), seeds=(17, 99))``
    """

    problem: Problem
    prompt: Prompt
    samples: tuple[int, ...]
    seeds: tuple[int, ...]


def sample_and_judge(
    engine: Engine,
    verifier: Judge,
    draws: Sequence[Draw],
    *,
    context_length: int,
    temperature: float,
    top_p: float,
    infrastructure_retries: int,
    decode: Decode,
) -> list[Judged]:
    """Sample every draw and judge every completion; training and evaluation both come through here.

    A completion goes to the verifier in the engine step in which it ends. One that comes back as an infrastructure
    error is judged again, up to ``infrastructure_retries`` times; it is never sampled again, because a new sample
    would depend on the verifier's health.

    Returns:
        One ``Judged`` per draw, in the order of ``draws``.

    Raises:
        UserError: if a prompt leaves no room for a response in ``context_length`` tokens.
    """
    completions: dict[tuple[int, int], Completion] = {}
    futures: dict[tuple[int, int], Future[Verdict]] = {}

    def on_finish(key: tuple[int, int], sampled: Sampled) -> None:
        draw = draws[key[0]]
        completions[key] = completion_of(draw, key[1], sampled, decode)
        futures[key] = verifier.submit_answer(draw.problem, completions[key].text)

    engine.sample(requests_of(draws, context_length, temperature, top_p), on_finish)
    verdicts = {key: future.result() for key, future in futures.items()}
    for _ in range(infrastructure_retries):
        failed = [key for key, verdict in verdicts.items() if verdict.is_infrastructure_error]
        again = {key: verifier.submit_answer(draws[key[0]].problem, completions[key].text) for key in failed}
        verdicts.update({key: future.result() for key, future in again.items()})
    return [
        Judged(
            problem=draw.problem,
            completions=tuple(completions[index, slot] for slot in range(len(draw.samples))),
            verdicts=tuple(verdicts[index, slot] for slot in range(len(draw.samples))),
        )
        for index, draw in enumerate(draws)
    ]


def requests_of(draws: Sequence[Draw], context_length: int, temperature: float, top_p: float) -> list[Request]:
    """One request per sample, keyed by (index of the draw, index of the sample in it)."""
    requests = []
    for index, draw in enumerate(draws):
        room = context_length - len(draw.prompt.token_ids)
        if room <= 0:
            raise UserError(
                f"the prompt of problem {draw.problem.id} has {len(draw.prompt.token_ids)} tokens, which leaves no "
                f"room for a response in a context of {context_length}: raise context.length or set "
                "data.max_prompt_tokens"
            )
        for slot, seed in enumerate(draw.seeds):
            requests.append(Request((index, slot), draw.prompt.token_ids, seed, room, temperature, top_p))
    return requests


def completion_of(draw: Draw, slot: int, sampled: Sampled, decode: Decode) -> Completion:
    return Completion(
        problem_id=draw.problem.id,
        sample=draw.samples[slot],
        seed=draw.seeds[slot],
        prompt_ids=draw.prompt.token_ids,
        response_ids=sampled.response_ids,
        logp=sampled.logp,
        text=decode(sampled.response_ids),
        finished=sampled.finished,
    )


def draw_samples(
    tasks: Sequence[Task], num_samples: int, seed_parts: tuple[int | str, ...], drawn: Counter
) -> list[Draw]:
    """Number and seed ``num_samples`` samples of each task; sample k of a problem has the seed of (parts, problem, k).

    ``drawn`` counts how often each problem was drawn before and is brought up to date: a problem drawn again goes on
    counting its samples where it stopped, so no seed is used twice.
    """
    draws = []
    for problem, prompt in tasks:
        first = drawn[problem.id] * num_samples
        drawn[problem.id] += 1
        samples = tuple(range(first, first + num_samples))
        seeds = tuple(derive_seed(*seed_parts, problem.id, sample) for sample in samples)
        draws.append(Draw(problem, prompt, samples, seeds))
    return draws


def collect_groups(
    engine: Engine,
    verifier: Judge,
    take_tasks: Callable[[int], Sequence[Task]],
    *,
    config: RolloutConfig,
    context_length: int,
    keeps: Callable[[Sequence[float]], bool],
    decode: Decode,
    seed: int,
    step: int,
) -> tuple[list[RolloutGroup], CollectStats]:
    """Collect ``config.prompts_per_step`` groups that the objective keeps, refilling for those it drops.

    A group is dropped if ``keeps`` refuses its +1/-1 rewards (dynamic sampling, DAPO, arXiv 2503.14476, section 3.2) or
    if one of its rollouts could not be judged. Each refill round draws as many problems as the share kept so far
    makes necessary, at most ``prompts_per_step``.

    Args:
        take_tasks: the next n problems with their prompts; called once per round.
        seed: the run's.

    Returns:
        The groups in the order in which their problems were drawn, fewer than asked for only with
        ``on_short_batch=train`` (then possibly none), and the statistics.

    Raises:
        UserError: with ``on_short_batch=error``, if the rounds are used up before the batch is full.
    """
    wanted = config.prompts_per_step
    drawn: Counter[str] = Counter()
    judged: list[Judged] = []
    groups: list[RolloutGroup] = []
    num_rounds = 0
    while len(groups) < wanted and num_rounds <= config.max_refill_rounds:
        tasks = take_tasks(num_to_draw(wanted, len(groups), len(judged)))
        new = sample_and_judge(
            engine,
            verifier,
            draw_samples(tasks, config.samples_per_prompt, (seed, "rollout", step), drawn),
            context_length=context_length,
            temperature=config.temperature,
            top_p=config.top_p,
            infrastructure_retries=config.infrastructure_retries,
            decode=decode,
        )
        judged += new
        groups += [group for group in whole_groups(new) if keeps(group.rewards)]
        num_rounds += 1
    stats = summarise(judged, groups, wanted, num_rounds - 1)
    if stats.is_short and config.on_short_batch == "error":
        raise UserError(short_batch_sentence(stats, len(groups), config))
    return groups[:wanted], stats


def num_to_draw(wanted: int, num_kept: int, num_drawn: int) -> int:
    """Problems to draw for a batch of which ``num_kept`` of ``num_drawn`` so far are good."""
    missing = wanted - num_kept
    if num_kept == 0:
        return wanted
    return min(wanted, math.ceil(missing * num_drawn / num_kept))


def short_batch_sentence(stats: CollectStats, num_kept: int, config: RolloutConfig) -> str:
    return (
        f"only {num_kept} of {config.prompts_per_step} groups after {stats.num_refill_rounds} refill rounds "
        f"({stats.num_groups_all_right} all right, {stats.num_groups_all_wrong} all wrong, "
        f"{stats.num_groups_failed} not judged, of {stats.num_groups} sampled): raise rollout.max_refill_rounds, "
        "choose problems of another difficulty, or set rollout.on_short_batch=train"
    )
