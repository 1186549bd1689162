"""The leader's side of a run: problems, engine and verifier, for training batches and for evaluation alike."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar
from weakref import WeakKeyDictionary

from ablate import objectives
from ablate.config import RunConfig
from ablate.config.open_files import allow_open_files
from ablate.data.history import Streaks, noted, resting
from ablate.data.order import ProblemOrder
from ablate.data.pass_counts import difference, trained_under, within_pass_rate
from ablate.data.problems import load_problems
from ablate.data.prompts import make_prompts, within
from ablate.data.templates import make_templates
from ablate.data.tokenizer import load_tokenizer
from ablate.evals.scores import check_count, eval_rows
from ablate.process.activity import noted_work
from ablate.records.eval_texts import EvalTexts
from ablate.records.trace import Trace
from ablate.rollout.collect import collect_groups
from ablate.rollout.draws import Conditions, Decode, Task, draw_samples
from ablate.rollout.engine import Engine, WeightsIncomplete
from ablate.rollout.in_flight import Sampler
from ablate.rollout.kept_samples import KeepingEngine
from ablate.rollout.open import open_engine, put_engines_to_sleep
from ablate.seeding import derive_seed
from ablate.types import EvalRow, Problem, Prompt, RolloutGroup
from ablate.verify.verifier import Verifier

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)
WeightsVersion = tuple[int, int]  # (stage, step) after which the trainer had these weights
PromptsOf = Callable[[Sequence[Problem]], list[Prompt]]
Result = TypeVar("Result")
Yielded = TypeVar("Yielded", covariant=True)


class Tasks(Sequence[Task]):
    """Problems with their prompts. A prompt is made when its problem is drawn: 24,000 of them would take a gigabyte."""

    def __init__(self, problems: Sequence[Problem], prompts_of: PromptsOf) -> None:
        self.problems = problems
        self.prompts_of = prompts_of

    def __len__(self) -> int:
        return len(self.problems)

    def __getitem__(self, index: int) -> Task:
        problem = self.problems[index]
        return problem, self.prompts_of([problem])[0]


@dataclass(frozen=True)
class RolloutBatch:
    """What one step trains on."""

    groups: list[RolloutGroup]
    metrics: dict[str, float]  # rollout/...
    problem_order: dict[str, Any]  # its state after the step


class Pending(Protocol[Yielded]):
    """The result of work that was begun."""

    def result(self, patience_s: float = 0.0) -> Yielded:
        """Wait for it; ``patience_s``: for how long, once the process is preempted."""


class RolloutSide(Protocol):
    """The side of a run that samples and verifies: ``Sampling``, ``AtroposSampling`` or ``Collector``."""

    def has_weights(self, context_length: int, version: WeightsVersion) -> bool:
        """Whether the engine for this context has these weights."""

    def load_weights(self, context_length: int, version: WeightsVersion, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Replace the weights of the engine; see ``Engine.load_weights``."""

    def begin_batch(
        self, problem_order: dict[str, Any] | None, step: int, context_length: int
    ) -> Pending[RolloutBatch]:
        """Begin to sample the batch of a step; see ``Sampling.collect``."""

    def begin_evaluation(
        self, step: int, context_length: int, is_held_out: bool, kept_samples: Path, texts: EvalTexts | None
    ) -> Pending[list[EvalRow]]:
        """Begin to evaluate the engine's weights; see ``Sampling.evaluate``."""


@dataclass(frozen=True)
class WhenWaitedFor(Generic[Result]):
    """Work of this process, which does it when somebody waits for the result."""

    work: Callable[[], Result]

    def result(self, patience_s: float = 0.0) -> Result:
        return self.work()


@dataclass
class Sampling:
    """Samples and verifies; knows nothing of training.

    ``versions`` records which weights each open engine has. One engine serves every context of the run; a reopened
    engine has none of the trainer's weights.
    """

    config: RunConfig
    model_dir: Path
    decode: Decode
    train_tasks: Sequence[Task]
    eval_tasks: Sequence[Task]
    select_tasks: Sequence[Task]  # held-out problems that choose the best checkpoint; may be empty
    verifier: Verifier
    trace: Trace | None = None  # where the work on every batch is shown; None shows it nowhere
    versions: WeakKeyDictionary[Engine, WeightsVersion] = field(default_factory=WeakKeyDictionary)
    share_kept: float = 1.0  # of the last step's draws: a guess of how many the next step needs, and nothing else

    @cached_property
    def keeps(self) -> Callable[[Sequence[float]], bool]:
        """Does the objective keep a group with these rewards?"""
        return objectives.build(self.config.objective).keeps

    def engine(self, context_length: int) -> Engine:
        """The engine for a context; beyond the model's own context, positions are stretched by YaRN."""
        config = self.config
        return open_engine(
            self.model_dir,
            config.rollout.engine,
            context_length,
            config.model.original_context,
            longest=config.longest_context,
        )

    def has_weights(self, context_length: int, version: WeightsVersion) -> bool:
        """Does the engine for this context have these weights?"""
        return self.versions.get(self.engine(context_length)) == version

    def load_weights(
        self, context_length: int, version: WeightsVersion, weights: Iterable[tuple[str, Tensor]] | Path
    ) -> None:
        """Replace the weights of the engine; see ``Engine.load_weights``.

        An update that a dying server interrupted leaves the engine without these weights: ask ``has_weights``.
        """
        engine = self.engine(context_length)
        self.versions.pop(engine, None)
        with suppress(WeightsIncomplete):
            engine.load_weights(weights)
            self.versions[engine] = version

    def sleep(self) -> bool:
        """Let servers free the GPUs that they share with the trainer; they need weights before they sample again."""
        self.versions.clear()
        put_engines_to_sleep()
        return True

    @contextmanager
    def shown(self, engine: Engine, step: int, **facts: Any) -> Iterator[None]:
        """Show in the trace what engine and verifier do for a batch, with the version of the weights."""
        with noted_work() as work:
            yield
        if self.trace is not None:
            _, version = self.versions.get(engine, (0, 0))
            self.trace.add_batch(work, step, version=version, **facts)

    def begin_batch(
        self, problem_order: dict[str, Any] | None, step: int, context_length: int
    ) -> Pending[RolloutBatch]:
        return WhenWaitedFor(partial(self.collect, problem_order, step, context_length))

    def begin_evaluation(
        self, step: int, context_length: int, is_held_out: bool, kept_samples: Path, texts: EvalTexts | None
    ) -> Pending[list[EvalRow]]:
        return WhenWaitedFor(partial(self.evaluate, step, context_length, is_held_out, kept_samples, texts))

    def collect(self, state: dict[str, Any] | None, step: int, context_length: int) -> RolloutBatch:
        """Sample and verify the rollout batch of one step. Its problems come without their tests.

        The first P draws of every step come from the run's order of problems, all others from an order that belongs to
        the step. So all cells of a comparison see the same problems at the same step, however many a cell draws. With
        ``data.history`` the turn of a problem that rests passes to the order of the step.

        Args:
            state: of the problem order, after the step before; None before the first step.
        """
        seed, data, rollout = self.config.seed, self.config.data, self.config.rollout
        problems = ProblemOrder(len(self.train_tasks), seed, data.shuffle)
        if state is not None:
            problems.restore(state)
        refills = ProblemOrder(len(self.train_tasks), derive_seed(seed, "refill", step), data.shuffle)
        streaks: Streaks = (state or {}).get("history", {})
        asleep = self.resting(streaks, step)
        drawn: list[int] = []  # further ahead than the batch counts

        def tasks() -> Iterator[Task]:
            for number in chain(problems.take(rollout.prompts_per_step), (refills.take(1)[0] for _ in count())):
                if number not in asleep:
                    drawn.append(number)
                    yield self.train_tasks[number]

        engine = self.engine(context_length)
        with self.shown(engine, step, purpose="training"):
            groups, stats = collect_groups(
                Sampler(engine, self.verifier, self.decode),
                Conditions(context_length, rollout.temperature, rollout.top_p, rollout.infrastructure_retries),
                tasks(),
                config=rollout,
                keeps=self.keeps,
                seed=seed,
                step=step,
                repeat=self.config.fork.repeat,
                share_kept=self.share_kept,
            )
        self.share_kept = (len(groups) + 1) / (stats.num_groups + 1)
        groups = [replace(group, problem=replace(group.problem, tests=())) for group in groups]
        order, metrics = dict(problems.state()), stats.metrics()
        if data.history is not None:
            order["history"] = noted(streaks, step, zip(drawn, stats.one_outcome, strict=False))
            metrics["rollout/num_problems_resting"] = float(len(asleep))
        return RolloutBatch(groups, metrics, order)

    def resting(self, streaks: Streaks, step: int) -> set[int]:
        """The training problems that are not drawn at ``step``; enough for one of its batches stay awake."""
        history, most = self.config.data.history, self.config.rollout.max_draws
        return set() if history is None else resting(streaks, history, step, len(self.train_tasks), most)

    def evaluate(
        self,
        step: int,
        context_length: int,
        is_held_out: bool = False,
        kept_samples: Path | None = None,
        texts: EvalTexts | None = None,
        on_verified: Callable[[RolloutGroup], None] | None = None,
    ) -> list[EvalRow]:
        """Sample and verify the evaluation problems with the weights of this context's engine.

        The seed of a sample depends only on (``eval.seed``, problem, sample): every cell, step and context uses the
        same seeds.

        Args:
            is_held_out: sample the problems that select the best checkpoint instead.
            kept_samples: a file of finished samples of the same weights. They are verified but not sampled again, and
                each new sample is added.
            texts: where the samples are written for readers.
            on_verified: is told of every problem's answers and verdicts, which the rows leave out.
        """
        config, retries = self.config.eval, self.config.rollout.infrastructure_retries
        engine = self.engine(context_length)
        keeping = engine if kept_samples is None else KeepingEngine(engine, kept_samples)
        with self.shown(engine, step, purpose="evaluation", context=context_length):
            verified = Sampler(keeping, self.verifier, self.decode).sample_and_verify(
                draw_samples(
                    self.select_tasks if is_held_out else self.eval_tasks,
                    config.samples_per_problem,
                    (config.seed, "eval"),
                    Counter(),
                ),
                Conditions(context_length, config.temperature, config.top_p, retries),
            )
        if texts is not None:
            texts.write(step, context_length, verified)
        for each in verified if on_verified is not None else ():
            on_verified(each)
        return [
            row
            for each in verified
            for row in eval_rows(step, context_length, each.problem, each.completions, each.verdicts)
        ]


def open_sampling(config: RunConfig, model_dir: Path, verifier: Verifier, trace: Trace | None = None) -> Sampling:
    """Load problems and tokenizer; an engine starts when its context is first needed."""
    allow_open_files(config)
    tokenizer = load_tokenizer(model_dir)
    templates = make_templates(config.data)

    def prompts_of(problems: Sequence[Problem]) -> list[Prompt]:
        return make_prompts(problems, tokenizer, templates)

    def tasks(path: str, pass_counts: str | None = None) -> Tasks:
        problems = load_problems(path)
        prompts_of(problems[:1])  # a template that cannot be used is reported now
        if config.data.max_prompt_tokens is not None:
            problems = within(problems, prompts_of, config.data.max_prompt_tokens)
        if pass_counts is not None:  # after the rule above, because problems that it drops were not counted either
            bounds = config.data.min_pass_rate, config.data.max_pass_rate
            problems = within_pass_rate(problems, Path(pass_counts), *bounds)
            if told := difference(Path(pass_counts), trained_under(config, model_dir)):
                log.warning("%s", told)
        return Tasks(problems, prompts_of)

    eval_tasks = tasks(config.data.eval)
    check_count(config, len(eval_tasks))
    return Sampling(
        config=config,
        model_dir=model_dir,
        decode=lambda token_ids: tokenizer.decode(list(token_ids), skip_special_tokens=True),
        train_tasks=tasks(config.data.train, config.data.pass_counts),
        eval_tasks=eval_tasks,
        select_tasks=tasks(config.eval.select_on) if config.eval.select_on else [],
        verifier=verifier,
        trace=trace,
    )
