"""THE loop: sample, verify, group, step; the same on two cores and on forty-eight GPUs."""

from __future__ import annotations

from dataclasses import replace

from ablate.config import EvalConfig
from ablate.objectives.batch import update_batch
from ablate.seeding import derive_seed
from ablate.session import Progress, Session
from ablate.trainer.batching import make_batch, rows_of_updates
from ablate.types import RolloutGroup, TrainBatch


def train(session: Session) -> None:
    """Train one cell through its context stages, from wherever its newest checkpoint stands.

    What is recorded of step k is a function of the configuration alone: an interrupted run leaves the records that an
    unbroken one would have left.

    Raises:
        Preempted: after a checkpoint, when the process was asked to stop.
    """
    config = session.config
    progress = session.restore()
    if progress.step == 0 and config.eval.at_start:
        contexts = [context.length for context in config.eval.contexts]
        session.record(0, session.evaluate(progress, contexts, config.context.stages[0].length))
    last_step = 0
    for index, stage in enumerate(config.context.stages):
        last_step += stage.steps
        if index < progress.stage:  # an earlier attempt went further
            continue
        session.enter_stage(index, progress)
        while progress.step < last_step:
            metrics = train_one_step(session, progress, stage.length)
            is_last = progress.step == last_step
            contexts = due_contexts(config.eval, progress.step, is_last)
            if contexts:
                metrics |= session.evaluate(progress, contexts, stage.length)
            session.record(progress.step, metrics)
            if is_last or is_due(config.checkpoint.every, progress.step) or session.is_best(progress):
                session.checkpoint(progress)
            session.leave_if_preempted(progress)


def train_one_step(session: Session, progress: Progress, length: int) -> dict[str, float]:
    """One rollout batch: collect it, take its optimizer steps, hand the new weights to the engine."""
    step = progress.step + 1
    with session.timed("rollout", step):  # sample -> verify -> group, refilled under dynamic sampling
        groups, metrics = session.collect(progress, length)
    if groups:
        batch = batch_of(session, groups, step)
        rows_of_each = rows_of_updates(
            batch.num_rows,
            session.config.optim.updates_per_batch,
            derive_seed(session.config.seed, "optimizer steps", step),
        )
        with session.timed("update", step):  # every update has its own N, T and weights
            updates = [
                session.trainer.step(update_batch(batch, rows, session.objective), session.objective)
                for rows in rows_of_each
            ]
        with session.timed("weights", step):
            session.hand_weights_to_engine(length)
        session.save_rollouts(step, groups, batch, rows_of_each)
        metrics |= over_optimizer_steps(updates)
    progress.step = step
    return metrics


def batch_of(session: Session, groups: list[RolloutGroup], step: int) -> TrainBatch:
    """Advantages over groups, and the log-probabilities that the updates of this batch are measured against."""
    batch = make_batch(groups, session.objective)
    if session.config.optim.old_logp == "trainer":
        with session.timed("old_logp", step):
            batch = replace(batch, old_logp_BT=session.trainer.logp(batch)[0])
    if session.objective.needs_reference:
        with session.timed("ref_logp", step):
            batch = replace(batch, ref_logp_BT=session.trainer.reference_logp(batch))
    return batch


def over_optimizer_steps(updates: list[dict[str, float]]) -> dict[str, float]:
    """Mean over the optimizer steps of one batch; the largest for a maximum, and for whether the clip was live.

    An optimizer step without a row in the loss says less than the others; a metric is the mean of those that have it.
    """
    merged = {}
    for name in sorted({name for update in updates for name in update}):
        values = [update[name] for update in updates if name in update]
        is_extreme = name.endswith(("_max", "clip_is_live"))
        merged[name] = max(values) if is_extreme else sum(values) / len(values)
    return merged


def due_contexts(config: EvalConfig, step: int, is_last: bool) -> list[int]:
    """Lengths of the contexts to evaluate after ``step``; ``is_last``: it is the last step of its stage."""
    at_end = is_last and config.at_end
    return [context.length for context in config.contexts if at_end or is_due(context.every, step)]


def is_due(every: int, step: int) -> bool:
    return every > 0 and step % every == 0
