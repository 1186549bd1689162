"""Open everything that one run needs and hand it to the loop: records, trainer, and the leader's sampling side.

Only the leader (rank 0) has an engine, a verifier and records; every rank runs the same loop and receives the leader's
groups and decisions by broadcast. A process that runs several cells (a sweep) keeps its engines, trainer and verifier.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from ablate import objectives
from ablate.config import RunConfig
from ablate.display import Display, SilentDisplay, open_display
from ablate.evals.scores import summarise
from ablate.preemption import Preempted, noted_signals
from ablate.records import RunDirectory
from ablate.records.rollouts import rows_of_step
from ablate.rollout.draws import Task
from ablate.rollout.engine import TooFewServers
from ablate.sampling import RolloutBatch, Sampling, WeightsVersion, open_sampling
from ablate.tracking import Mirror, NoMirror, open_mirror
from ablate.trainer.open import open_trainer
from ablate.trainer.parallel.failure import ending_together
from ablate.trainer.trainer import Trainer
from ablate.types import EvalRow, RolloutGroup, TrainBatch
from ablate.verify.shared import shared_verifier
from ablate.warm_start import ensure_model

if TYPE_CHECKING:
    from torch import Tensor

Result = TypeVar("Result")


@dataclass
class RunState:
    """Where a run stands; travels inside every checkpoint.

    ``scores`` holds Pass@1 at ``eval.select_at`` by step, for every evaluation of the present stage. ``unrecorded``
    holds the metrics of ``step`` until its evaluation is complete and the step is recorded; else it is None.
    """

    step: int = 0
    stage: int = 0
    sampler: dict[str, Any] | None = None  # of the problem sampler, after the problems of ``step`` were drawn
    scores: dict[int, float] = field(default_factory=dict)
    unrecorded: dict[str, float] | None = None

    @property
    def best_step(self) -> int | None:
        """The step with the best score of the stage; ties go to the later step."""
        return max(self.scores, key=lambda step: (self.scores[step], step), default=None)

    @property
    def weights_version(self) -> WeightsVersion:
        """Names the trainer's weights; a stage may begin with other weights than the step before it ended with."""
        return self.stage, self.step


@dataclass
class Session:
    """The parts of one run; what touches records, engine or verifier happens on the leader only."""

    config: RunConfig
    run: RunDirectory
    objective: objectives.Objective
    trainer: Trainer
    sampling: Sampling | None  # None on every rank but the leader
    display: Display
    mirror: Mirror
    received_signals: list[int]
    saved: tuple[int, bool] | None = None  # step of the newest checkpoint, and whether that step is recorded

    @property
    def is_leader(self) -> bool:
        return self.sampling is not None

    def timed(self, name: str, step: int, **facts: Any) -> AbstractContextManager[None]:
        return self.run.trace.timed(name, step, **facts) if self.is_leader else nullcontext()

    # --- parts of a step --------------------------------------------------------------------------------------------

    def update_engine(self, version: WeightsVersion, context_length: int) -> None:
        """Give the engine for ``context_length`` the trainer's weights, which are ``version``, unless it has them."""
        while not self.has_weights(version, context_length):  # a server that dies interrupts an update
            load = None
            if self.sampling is not None:
                load = partial(self.sampling.load_weights, context_length, version)
            with self.timed("hand_off", version[1]):
                self.trainer.gather_weights(load)

    def has_weights(self, version: WeightsVersion, context_length: int) -> bool:
        with self.timed("engine", version[1]):  # starts the engine where it is not open yet
            return self.from_leader(lambda sampling: sampling.has_weights(context_length, version))

    def from_leader(self, work: Callable[[Sampling], Result]) -> Result:
        """Run ``work`` on the leader and return its result, which is not None, on every rank.

        Raises:
            Preempted: on every rank, if the process was asked to stop before ``work`` was done, or too few servers are
                left for it.
        """
        result: Result | None = None
        reason = Preempted()
        if self.sampling is not None:
            try:
                result = work(self.sampling)
            except TooFewServers as error:
                reason = error
                self.display.say(str(error))
            except Exception as error:
                # SIGTERM may reach the whole process group: then the engine's own process has ended too.
                if not self.received_signals:
                    raise
                self.display.say(f"asked to stop while sampling ({type(error).__name__})")
        result = self.trainer.world.broadcast(result)
        if result is None:
            raise reason
        return result

    def collect(self, sampler: dict[str, Any] | None, step: int, context_length: int) -> RolloutBatch:
        """Sample and verify the rollout batch of ``step`` on the leader and hand it to every rank."""
        return self.from_leader(lambda sampling: sampling.collect(sampler, step, context_length, self.objective.keeps))

    def evaluate(self, state: RunState, contexts: Sequence[int]) -> dict[str, float]:
        """Evaluate the trainer's weights at ``contexts``, append to eval.parquet and note the score that selects.

        Args:
            state: the state after the step whose weights the trainer holds; the rows carry that step.

        Raises:
            Preempted: if the process was asked to stop; the finished samples are kept.
        """
        metrics: dict[str, float] = {}
        for context in contexts:
            metrics |= self.evaluate_at(state.weights_version, state.step, context)
        select_at, held_out = self.config.eval.select_at, self.config.eval.select_on is not None
        if held_out and select_at in contexts:
            metrics |= self.evaluate_held_out(state.weights_version, state.step, select_at)
        score = metrics.get(f"{'select' if held_out else 'eval'}/pass@1/{select_at}")
        if state.step > 0 and score is not None:  # no checkpoint holds the weights before training
            state.scores[state.step] = score
        return metrics

    def evaluate_at(self, version: WeightsVersion, step: int, context: int) -> dict[str, float]:
        """Evaluate the trainer's weights, which are ``version``, at one context, and append to eval.parquet."""

        def work(sampling: Sampling) -> dict[str, float]:
            rows = self.sampled_rows(sampling, step, context)
            with self.timed("records", step):
                self.run.steps.append_eval(rows)
            return summarise(rows, self.config.eval)

        self.leave_if_asked()
        with self.timed("evaluate", step, context=context):
            self.update_engine(version, context)
            return self.from_leader(work)

    def evaluate_held_out(self, version: WeightsVersion, step: int, context: int) -> dict[str, float]:
        """Score the trainer's weights on the problems of ``eval.select_on``, as ``select/...`` metrics.

        Their rows stay out of eval.parquet, so that they cannot enter a table of Pass@1.
        """

        def work(sampling: Sampling) -> dict[str, float]:
            return summarise(self.sampled_rows(sampling, step, context, sampling.select_tasks), self.config.eval)

        self.leave_if_asked()
        with self.timed("evaluate", step, context=context, held_out=True):
            self.update_engine(version, context)
            metrics = self.from_leader(work)
        return {"select/" + name.removeprefix("eval/"): value for name, value in metrics.items()}

    def sampled_rows(
        self, sampling: Sampling, step: int, context: int, tasks: Sequence[Task] | None = None
    ) -> list[EvalRow]:
        self.run.steps.drop_eval_samples(keep_step=step)
        return sampling.evaluate(step, context, tasks, self.run.steps.eval_samples_file(step, context))

    # --- records ----------------------------------------------------------------------------------------------------

    def record(self, step: int, metrics: dict[str, float]) -> None:
        if self.is_leader:
            with self.timed("records", step):
                self.run.steps.append_metrics(step, metrics)
                self.run.owner.beat(step, sum(stage.steps for stage in self.config.context.stages))
            self.mirror.log(step, metrics)
        self.display.step(step, metrics)

    def save_rollouts(
        self, step: int, groups: list[RolloutGroup], batch: TrainBatch, rows_of_updates: list[Tensor]
    ) -> None:
        """Save what the step trained on; ``rows_of_updates`` are the rows of the batch that each update trained on."""
        if self.is_leader and self.config.logging.save_rollouts:
            with self.timed("records", step):
                self.run.steps.write_rollouts(step, rows_of_step(step, groups, batch, rows_of_updates))

    # --- checkpoints ------------------------------------------------------------------------------------------------

    def restore(self) -> RunState:
        """Continue at the newest whole checkpoint, and drop the records of later steps: they will be made again."""
        extra = self.trainer.checkpoints.load_newest(self.run.checkpoints_path, self.display.say)
        state = RunState(**extra) if extra else RunState()
        if self.is_leader:
            step, is_evaluated = (state.step, state.unrecorded is None) if extra else (-1, True)
            for repair in self.run.steps.keep_through(step, is_evaluated):
                self.display.say(f"repaired {repair}")
        if extra:
            self.saved = (state.step, state.unrecorded is None)
            self.display.say(f"continuing after step {state.step}")
        return state

    def checkpoint(self, state: RunState) -> None:
        keep = self.config.checkpoint
        with self.timed("checkpoint", state.step):
            self.trainer.checkpoints.save(
                self.run.checkpoints_path,
                state.step,
                asdict(state),
                keep=keep.keep,
                best=state.best_step if keep.keep_best else None,
                asynchronous=keep.asynchronous,
            )
        self.saved = (state.step, state.unrecorded is None)

    def publish_checkpoint(self) -> None:
        """Let an asynchronous checkpoint count as soon as it is written, so that a crash goes back no further."""
        self.trainer.checkpoints.publish_if_written()

    def is_best(self, state: RunState) -> bool:
        """Is this step the best of its stage so far? Then it needs a checkpoint."""
        return self.config.checkpoint.keep_best and state.best_step == state.step

    def enter_stage(self, index: int, state: RunState) -> None:
        """Begin a context stage; every stage after the first starts from the best checkpoint of the stage before."""
        if index > state.stage:
            best = state.best_step
            if best is not None and best != state.step:
                self.trainer.checkpoints.load(self.run.checkpoints_path, best)
                self.display.say(f"stage {index + 1} continues from step {best}, the best of stage {index}")
            state.stage, state.scores = index, {}

    def finish(self, state: RunState) -> None:
        """After the last stage: evaluate the selected checkpoint at every context that it lacks; write selected.json.

        The trainer then holds the weights of that checkpoint. A run that was killed in here continues with the contexts
        that eval.parquet lacks, so that it leaves the records of an unbroken run.
        """
        best = state.best_step if self.config.checkpoint.keep_best else None
        if best is None:
            return
        if best != state.step and self.config.eval.at_end:
            self.trainer.checkpoints.finish_save()  # from here on, a restart continues after the last step
            done = {row.context for row in self.run.steps.eval_rows() if row.step == best} if self.is_leader else None
            done = self.trainer.world.broadcast(done)
            missing = [context.length for context in self.config.eval.contexts if context.length not in done]
            if missing:
                self.trainer.checkpoints.load(self.run.checkpoints_path, best)
                self.display.say(f"evaluating step {best}, the best one, at {missing} tokens")
            for context in missing:
                self.evaluate_at((state.stage + 1, best), best, context)
        if self.is_leader:
            config = self.config.eval
            scores = {str(step): score for step, score in sorted(state.scores.items())}
            self.run.write_selected(
                {"step": best, "context": config.select_at, "held_out": config.select_on, "scores": scores}
            )

    def leave_if_asked(self) -> None:
        """Raise ``Preempted`` on every rank after SIGTERM or SIGUSR1."""
        if self.trainer.world.broadcast(bool(self.received_signals)):
            raise Preempted

    @contextmanager
    def checkpoint_when_preempted(self, state: RunState) -> Iterator[None]:
        """Before the process leaves: write a checkpoint, unless the newest one holds ``state`` already.

        Before the first step there is nothing to save. The samples of an evaluation that was interrupted are kept.
        """
        try:
            yield
        except Preempted:
            if state.step > 0 and self.saved != (state.step, state.unrecorded is None):
                self.checkpoint(state)
            self.trainer.checkpoints.finish_save()
            done = f"checkpoint written after step {state.step}" if state.step > 0 else "no step is done yet"
            self.display.say(f"asked to stop: {done}")
            raise


@contextmanager
def open_session(config: RunConfig, config_yaml: str, run: RunDirectory, is_leader: bool) -> Iterator[Session]:
    """Open the parts of a run and close what is not kept for the next cell of the process."""
    objective = objectives.build(config.objective)  # first, so that a mistake is reported before anything slow
    num_steps = sum(stage.steps for stage in config.context.stages)
    with ExitStack() as stack:
        received_signals = stack.enter_context(noted_signals())
        verifier = shared_verifier(config.verify) if is_leader else None
        model_dir = ensure_model(config)
        trainer = open_trainer(config, model_dir)
        stack.callback(trainer.checkpoints.discard_save)
        stack.enter_context(ending_together(trainer.world.watch, Preempted))
        sampling = open_sampling(config, model_dir, verifier, run.trace) if is_leader else None
        mirror: Mirror = NoMirror()
        display: Display = SilentDisplay()
        if is_leader:
            mirror = open_mirror(config.logging, run.path, yaml.safe_load(config_yaml))
            display = open_display(config.logging.display, f"{config.cell} seed {config.seed}", num_steps)
        stack.callback(mirror.close)
        stack.callback(display.close)
        yield Session(config, run, objective, trainer, sampling, display, mirror, received_signals)
        trainer.checkpoints.finish_save()
