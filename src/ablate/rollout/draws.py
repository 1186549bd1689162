"""From prompts to verdicts: sample completions, and verify each one while others are still being sampled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from ablate.errors import UserError
from ablate.preemption import result_of
from ablate.rollout.engine import Engine, Request, Sampled
from ablate.seeding import derive_seed
from ablate.types import Completion, Problem, Prompt, Verdict
from ablate.verify.verifier import Verifier

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


@dataclass(frozen=True)
class VerifiedDraw:
    """The completions of one draw in sample order, and their verdicts; some may be infrastructure errors."""

    problem: Problem
    completions: tuple[Completion, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def num_infrastructure_errors(self) -> int:
        return sum(verdict.is_infrastructure_error for verdict in self.verdicts)


@dataclass(frozen=True)
class Conditions:
    """How draws are sampled and verified.

    Example: ``Conditions(context_length=32768, temperature=1.0, top_p=1.0, infrastructure_retries=2)``
    """

    context_length: int  # tokens of prompt and response together
    temperature: float
    top_p: float
    infrastructure_retries: int  # per completion


@dataclass(frozen=True)
class Sampler:
    """An engine and the verifier of what it samples; training and evaluation both sample through it."""

    engine: Engine
    verifier: Verifier
    decode: Decode

    def sample_and_verify(self, draws: Sequence[Draw], conditions: Conditions) -> list[VerifiedDraw]:
        """Sample every draw and verify every completion.

        A completion goes to the verifier in the engine step in which it ends. A completion whose verdict is an
        infrastructure error is verified again, up to ``conditions.infrastructure_retries`` times. It is never sampled
        again, because then a sample would depend on the verifier's health.

        Returns:
            One ``VerifiedDraw`` per draw, in the order of ``draws``.

        Raises:
            UserError: if a prompt leaves no room for a response in the context.
            Preempted: if the process is asked to stop; nothing waits for the verdicts that are missing.
        """
        completions: dict[tuple[int, int], Completion] = {}
        futures: dict[tuple[int, int], Future[Verdict]] = {}

        def on_finish(key: tuple[int, int], sampled: Sampled) -> None:
            draw = draws[key[0]]
            completions[key] = completion_of(draw, key[1], sampled, self.decode)
            futures[key] = self.verifier.submit_answer(draw.problem, completions[key].text)

        try:
            self.engine.sample(requests_of(draws, conditions), on_finish)
            verdicts = {key: result_of(future) for key, future in futures.items()}
            for _ in range(conditions.infrastructure_retries):
                failed = [key for key, verdict in verdicts.items() if verdict.is_infrastructure_error]
                for draw_index, sample_index in failed:
                    text = completions[draw_index, sample_index].text
                    problem = draws[draw_index].problem
                    futures[draw_index, sample_index] = self.verifier.submit_answer(problem, text)
                verdicts.update({key: result_of(futures[key]) for key in failed})
        finally:  # after an exception, programs that nobody waits for need not run
            for future in futures.values():
                future.cancel()
        return [
            VerifiedDraw(
                problem=draw.problem,
                completions=tuple(completions[index, sample] for sample in range(len(draw.samples))),
                verdicts=tuple(verdicts[index, sample] for sample in range(len(draw.samples))),
            )
            for index, draw in enumerate(draws)
        ]


def requests_of(draws: Sequence[Draw], conditions: Conditions) -> list[Request]:
    """One request per sample; its key is (index of the draw, index of the sample in the draw)."""
    requests = []
    for draw_index, draw in enumerate(draws):
        room = conditions.context_length - len(draw.prompt.token_ids)
        if room <= 0:
            raise UserError(
                f"the prompt of problem {draw.problem.id} has {len(draw.prompt.token_ids)} tokens, which leaves no "
                f"room for a response in a context of {conditions.context_length}: raise context.length or set "
                "data.max_prompt_tokens"
            )
        for sample_index, seed in enumerate(draw.seeds):
            key = (draw_index, sample_index)
            requests.append(Request(key, draw.prompt.token_ids, seed, room, conditions.temperature, conditions.top_p))
    return requests


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
