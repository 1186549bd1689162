"""The leader's side of a run: problems, engine and verifier, for training batches and for evaluation alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.config import RunConfig
from ablate.data.problems import load_problems
from ablate.data.prompts import make_prompts, within
from ablate.data.sampler import ProblemSampler
from ablate.data.tokenizer import load_tokenizer
from ablate.rollout.collect import Decode, Task, collect_groups
from ablate.rollout.engine import Engine
from ablate.rollout.evaluation import evaluate
from ablate.rollout.vllm import open_engine
from ablate.seeding import derive_seed
from ablate.types import EvalRow, RolloutGroup
from ablate.verify.verifier import Verifier

if TYPE_CHECKING:
    pass

Weights = "Iterable[tuple[str, Tensor]] | Path"


@dataclass(frozen=True)
class Sampling:
    """Samples and judges; knows nothing of training."""

    config: RunConfig
    model_dir: Path
    decode: Decode
    train_tasks: Sequence[Task]
    eval_tasks: Sequence[Task]
    verifier: Verifier

    def engine(self, length: int) -> Engine:
        """The engine for a context of ``length`` tokens; beyond the model's own context positions stretch by YaRN."""
        original = self.config.model.original_context
        return open_engine(self.model_dir, self.config.rollout.engine, length, max(1.0, length / original), original)

    def collect(
        self, state: dict[str, Any] | None, step: int, length: int, keeps: Callable[[Sequence[float]], bool]
    ) -> tuple[list[RolloutGroup], dict[str, float], dict[str, Any]]:
        """Return the groups of one step, ``rollout/...`` metrics and the sampler's state after it.

        The first round of every step draws from the run's own order of problems, and refills from an order of the
        step's: so all arms of a comparison see the same problems at the same step, however often one of them refills.
        """
        seed, data = self.config.seed, self.config.data
        sampler = ProblemSampler(len(self.train_tasks), seed, data.shuffle)
        if state is not None:
            sampler.restore(state)
        first = iter([sampler])
        refills = ProblemSampler(len(self.train_tasks), derive_seed(seed, "refill", step), data.shuffle)
        groups, stats = collect_groups(
            self.engine(length),
            self.verifier,
            lambda count: [self.train_tasks[index] for index in next(first, refills).take(count)],
            config=self.config.rollout,
            context_length=length,
            keeps=keeps,
            decode=self.decode,
            seed=seed,
            step=step,
        )
        return groups, stats.metrics(), sampler.state()

    def evaluate(self, weights: Weights, step: int, length: int) -> list[EvalRow]:
        """Sample every evaluation problem with ``weights`` in a context of ``length`` tokens."""
        engine = self.engine(length)
        engine.load_weights(weights)
        return evaluate(
            engine,
            self.verifier,
            self.eval_tasks,
            config=self.config.eval,
            step=step,
            context_length=length,
            infrastructure_retries=self.config.rollout.infrastructure_retries,
            decode=self.decode,
        )


def open_sampling(config: RunConfig, model_dir: Path, verifier: Verifier) -> Sampling:
    """Load problems and tokenizer; the engine starts with the first context that is asked for."""
    tokenizer = load_tokenizer(model_dir)

    def tasks(path: str) -> list[Task]:
        problems = {problem.id: problem for problem in load_problems(path)}
        prompts = make_prompts(list(problems.values()), tokenizer, config.data.template)
        if config.data.max_prompt_tokens is not None:
            prompts = within(prompts, config.data.max_prompt_tokens)
        return [(problems[prompt.problem_id], prompt) for prompt in prompts]

    return Sampling(
        config=config,
        model_dir=model_dir,
        decode=lambda token_ids: tokenizer.decode(token_ids, skip_special_tokens=True),
        train_tasks=tasks(config.data.train),
        eval_tasks=tasks(config.data.eval),
        verifier=verifier,
    )
