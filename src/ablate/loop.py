"""THE loop: sample, verify, group, step; the same on two cores and on forty-eight GPUs."""

from __future__ import annotations

from ablate.session import Progress, Session


def train(session: Session) -> None:
    """Train one cell through its context stages, from wherever its newest checkpoint stands.

    Records of step k are the deterministic function of the configuration that a run without interruption would have
    left. Raises ``Preempted`` after a checkpoint when the process was asked to stop.
    """
    config = session.config
    progress = session.restore()
    if progress.step == 0 and config.eval.at_start:
        session.record(0, session.evaluate(progress, config.context.stages[0].length))
    last_step = 0
    for stage_index, stage in enumerate(config.context.stages):
        last_step += stage.steps
        if stage_index < progress.stage:  # an earlier attempt went further
            continue
        session.enter_stage(stage_index, progress)
        while progress.step < last_step:
            metrics = train_one_step(session, progress, stage.length)
            is_last = progress.step == last_step
            if is_due(config.eval.every, progress.step) or (is_last and session.evaluates_end_of(stage_index)):
                metrics |= session.evaluate(progress, stage.length)
            session.record(progress.step, metrics)
            if is_last or is_due(config.checkpoint.every, progress.step) or session.is_best(progress):
                session.checkpoint(progress)
            session.leave_if_preempted(progress)


def train_one_step(session: Session, progress: Progress, length: int) -> dict[str, float]:
    """One rollout batch: collect it, take its optimizer steps, hand the new weights to the engine."""
    trainer, objective = session.trainer, session.objective
    step = progress.step + 1

    with session.timed("rollout", step):  # sample -> verify -> group, refilled under dynamic sampling
        groups, sampling = session.collect(progress, step, length)
    with session.timed("old_logp", step):  # advantages over groups; log-probabilities before the first update
        batch = trainer.make_batch(groups, objective, step)
    with session.timed("update", step):  # every optimizer step has its own N, T and weights
        updates = [trainer.step(part, objective) for part in trainer.optimizer_steps(batch, objective)]
    with session.timed("weights", step):
        session.hand_weights_to_engine()

    progress.step = step
    session.save_rollouts(step, groups, batch)
    return sampling | over_optimizer_steps(updates)


def over_optimizer_steps(updates: list[dict[str, float]]) -> dict[str, float]:
    """Mean over the optimizer steps of one batch; the largest for a maximum, and for whether the clip was live."""
    merged = {}
    for name in updates[0]:
        values = [update[name] for update in updates]
        is_extreme = name.endswith(("_max", "clip_is_live"))
        merged[name] = max(values) if is_extreme else sum(values) / len(values)
    return merged


def is_due(every: int, step: int) -> bool:
    return every > 0 and step % every == 0
