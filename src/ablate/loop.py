"""The loop: sample, verify, group, update; the same on two cores and on forty-eight GPUs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ablate.config.schedule import due_contexts, saves_checkpoint
from ablate.sampling import RolloutBatch
from ablate.seeding import derive_seed
from ablate.session import RunState, Session, UnderWay, batches, checkpoints, evaluation, rollouts
from ablate.trainer.batching import make_batch, rows_of_updates
from ablate.trainer.updates import rows_without_own_pass, train_on, with_old_entropy, with_old_policy
from ablate.types import TrainBatch

if TYPE_CHECKING:
    from torch import Tensor


def train(session: Session) -> None:
    """Train one cell through its context stages, starting from its newest checkpoint.

    Lag 0: the engine takes the trainer's weights and samples batch s, the trainer trains on it, and the new weights are
    evaluated and saved. Lag k: batch s is there already; the engine takes the weights after step s - 1 and samples
    batch s + k while the trainer trains on batch s, and an evaluation goes on during the next step.

    The records of step k are a function of the configuration alone: an interrupted run that continues leaves the same
    records as an unbroken run.

    Raises:
        Preempted: after a checkpoint, if the process was preempted.
    """
    config = session.config
    state, under_way = checkpoints.restore(session)
    run = session, state, under_way
    session.display.wait("starting the engine")
    with checkpoints.written_when_preempted(*run):
        if state.step == 0 and config.eval.at_start:
            evaluation.begin(*run, [context.length for context in config.eval.contexts])
            evaluation.end(*run)
        last_step = 0
        for index, stage in enumerate(config.context.stages):
            last_step += stage.steps
            if index < state.stage:  # an earlier attempt finished this stage
                continue
            checkpoints.enter_stage(session, index, state)
            if state.unrecorded is not None:  # an earlier attempt ended during the evaluation of this step
                complete_step(*run, is_last=state.step == last_step)
            while state.step < last_step:
                batch = batches.next_batch(*run, stage.length, last_step)
                batches.begin_ahead(*run, stage.length, last_step)
                session.let_servers_sleep(state.step + 1)
                metrics = train_one_step(session, under_way, batch, state.step + 1)
                batches.advance(*run, metrics)
                complete_step(*run, is_last=state.step == last_step)
    evaluation.finish(session, state)
    rollouts.finish_writing(session, under_way, state.step)


def complete_step(session: Session, state: RunState, under_way: UnderWay, is_last: bool) -> None:
    """Evaluate and save the weights after ``state.step`` if that is due, and record the step.

    Weights that will be evaluated are saved before they change. At lag k they change while they are evaluated.

    Args:
        is_last: whether it is the last step of its stage.
    """
    config = session.config
    contexts = due_contexts(config.eval, state.step, is_last)
    if contexts:
        checkpoints.save(session, state, under_way)
        evaluation.begin(session, state, under_way, contexts)
        if is_last or config.rollout.lag == 0:
            evaluation.end(session, state, under_way)
    else:
        session.record(state.step, state.unrecorded)
        state.unrecorded = None
        if is_last or saves_checkpoint(config.checkpoint, state.step):
            checkpoints.save(session, state, under_way)
    session.raise_if_preempted()


def train_one_step(session: Session, under_way: UnderWay, collected: RolloutBatch, step: int) -> dict[str, float]:
    """Take the updates of one rollout batch and return the metrics of the step."""
    checkpoints.publish(session)
    metrics, config = dict(collected.metrics), session.config
    if collected.groups:
        batch = make_batch(collected.groups, session.objective)
        seed = derive_seed(config.seed, "optimizer steps", step)
        rows_of_each = rows_of_updates(batch.num_rows, config.optim.updates_per_batch, seed)
        batch = with_logp(session, batch, rows_of_each, seed, step)
        with session.timed("update", step):
            updates, batch = train_on(
                session.trainer,
                batch,
                rows_of_each,
                session.objective,
                is_on_policy=config.optim.old_logp == "trainer",
                seed=seed,
            )
        rollouts.begin_writing(session, under_way, step, collected.groups, batch, rows_of_each)
        metrics |= over_updates(updates)
    checkpoints.publish(session)
    return metrics


def with_logp(session: Session, batch: TrainBatch, rows_of_each: list[Tensor], seed: int, step: int) -> TrainBatch:
    """The batch with the log-probabilities that updates need and their own forward passes do not give."""
    config, objective = session.config, session.objective
    if config.optim.old_logp == "trainer":
        is_saved = config.logging.save_rollouts
        with session.timed("old_logp", step):
            rows = rows_without_own_pass(batch, rows_of_each, objective, for_records=is_saved, seed=seed)
            batch = with_old_policy(session.trainer, batch, rows, objective)
    elif objective.needs_entropy:
        with session.timed("old_logp", step):
            batch = with_old_entropy(session.trainer, batch)
    if objective.needs_reference:
        with session.timed("ref_logp", step):
            batch = replace(batch, ref_logp_BT=session.trainer.reference_logp(batch))
    return batch


def over_updates(updates: list[dict[str, float]]) -> dict[str, float]:
    """Average each metric over the updates of one batch; take the largest of a maximum and of ``clip_is_live``.

    Updates with no row in the loss report fewer metrics; each metric is averaged over the updates that report it.
    """
    merged = {}
    for name in sorted({name for update in updates for name in update}):
        values = [update[name] for update in updates if name in update]
        is_extreme = name.endswith(("_max", "clip_is_live"))
        merged[name] = max(values) if is_extreme else sum(values) / len(values)
    return merged
