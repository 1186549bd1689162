"""Evaluations of a run: scores of the weights after a step, while at lag 1 the trainer works on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ablate.evals.scores import summarise
from ablate.sampling import WeightsVersion
from ablate.session import checkpoints, fork
from ablate.session.session import Session
from ablate.session.state import RunState
from ablate.session.under_way import Evaluation, EvaluationPart, UnderWay


def begin(session: Session, state: RunState, under_way: UnderWay, contexts: Sequence[int]) -> None:
    """Begin to evaluate the trainer's weights, which are those after ``state.step``.

    Raises:
        Preempted: if the process was preempted.
    """
    config = session.config.eval
    wanted = [(context, False) for context in contexts]
    if config.select_on is not None and config.select_at in contexts:
        wanted.append((config.select_at, True))
    parts = [begin_part(session, state.weights_version, state.step, *each) for each in wanted]
    where = ", ".join(f"{context:,}" for context in contexts)
    session.display.wait(
        f"evaluating step {state.step}: {config.samples_per_problem} samples per problem at {where} tokens"
    )
    under_way.evaluation = Evaluation(state.step, dict(state.unrecorded or {}), parts)


def begin_part(session: Session, version: WeightsVersion, step: int, context: int, is_held_out: bool) -> EvaluationPart:
    session.raise_if_preempted()
    with session.timed("weights", step):
        session.update_engine(version, context)
    kept = session.run.steps.eval_samples_file(step, context)
    if session.is_leader:
        session.run.steps.drop_eval_samples(keep_step=step)
    texts = session.run.eval_texts if session.config.eval.save_samples and not is_held_out else None
    sampling = session.sampling
    rows = None if sampling is None else sampling.begin_evaluation(step, context, is_held_out, kept, texts)
    return EvaluationPart(context, is_held_out, rows)


def end(session: Session, state: RunState, under_way: UnderWay) -> None:
    """Wait for the evaluation that is under way, if there is one; record its step, and let its checkpoint know.

    Raises:
        Preempted: if the process was preempted; the finished samples are kept.
    """
    evaluation = under_way.evaluation
    if evaluation is None:
        return
    config, metrics = session.config.eval, dict(evaluation.metrics)
    for part in evaluation.parts:
        metrics |= scores_of(session, evaluation.step, part)
    score = metrics.get(f"{'select' if config.select_on is not None else 'eval'}/pass@1/{config.select_at}")
    if evaluation.step > 0 and score is not None:  # no checkpoint holds the weights before training
        state.scores[evaluation.step] = score
    session.record(evaluation.step, metrics)
    if session.is_leader:
        session.run.eval_texts.keep({0, evaluation.step, state.best_step})
    if state.step == evaluation.step:
        state.unrecorded = None
    checkpoints.add_scores(session, evaluation.step, state, under_way)
    under_way.evaluation = None


def scores_of(session: Session, step: int, part: EvaluationPart) -> dict[str, float]:
    """Metrics of one part. Evaluation rows go to eval.parquet.

    The rows of held-out problems stay out of it, so that they cannot enter a table of Pass@1.
    """

    def work() -> dict[str, float]:
        rows = part.rows.result()
        if not part.is_held_out:
            with session.timed("records", step):
                session.run.steps.append_eval(rows)
        return summarise(rows, session.config.eval)

    session.raise_if_preempted()
    facts = {"held_out": True} if part.is_held_out else {}
    with session.timed("evaluate", step, context=part.context, **facts):
        metrics = session.from_leader(work)
    if not part.is_held_out:
        return metrics
    return {"select/" + name.removeprefix("eval/"): value for name, value in metrics.items()}


def finish(session: Session, state: RunState) -> None:
    """After the last stage: evaluate the selected checkpoint at every context that it lacks; write selected.json.

    The trainer then holds the weights of that checkpoint. A run that was killed in here continues with the contexts
    that eval.parquet lacks, so that it leaves the records of an unbroken run.
    """
    config, trainer = session.config, session.trainer
    best = state.best_step if config.checkpoint.keep_best else None
    if best is None:
        return
    if best != state.step and config.eval.at_end:
        trainer.checkpoints.finish_save()  # from here on, a restart continues after the last step
        done = {row.context for row in session.run.steps.eval_rows() if row.step == best} if session.is_leader else None
        done = trainer.world.broadcast(done)
        missing = [context.length for context in config.eval.contexts if context.length not in done]
        if missing:
            session.let_servers_sleep(best)
            trainer.checkpoints.load(fork.checkpoints_with(session, best), best)
            session.display.say(f"evaluating step {best}, the best one, at {missing} tokens")
        for context in missing:
            scores_of(session, best, begin_part(session, (state.stage + 1, best), best, context, False))
    if session.is_leader:
        scores = {str(step): score for step, score in sorted(state.scores.items())}
        selected: dict[str, Any] = {"step": best, "context": config.eval.select_at}
        session.run.write_selected({**selected, "held_out": config.eval.select_on, "scores": scores})
