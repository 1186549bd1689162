"""The rollout batches of a run: which weights each is sampled from, and when.

Step s trains on groups sampled from the weights after v(s) = max(first step of the stage - 1, s - 1 - lag) steps. At
lag 1 the batch of step s + 1 is sampled while the trainer works on step s.
"""

from __future__ import annotations

import os

from ablate.sampling import RolloutBatch
from ablate.session import evaluation
from ablate.session.session import Session
from ablate.session.state import RunState

STOP_LEAD_S = "ABLATE_STOP_LEAD_S"  # seconds from the signal to the end, as slurm/env.sh sets them
USUAL_STOP_LEAD_S = 30.0  # what SLURM and Kubernetes give without a setting


def next_batch(session: Session, state: RunState, context_length: int) -> RolloutBatch:
    """The batch of the step after ``state.step``: sampled now from the trainer's weights unless there already."""
    step = state.step + 1
    if state.ahead is None:
        begin(session, state, step, context_length)
        with session.timed("wait_batch", step):
            state.ahead = session.from_leader(lambda _: session.started())
        session.started = None
    return state.ahead


def begin_ahead(session: Session, state: RunState, context_length: int, last_step: int) -> None:
    """At lag 1: begin to sample the batch of the step after the next one from the weights in the trainer."""
    step = state.step + 2
    if session.config.rollout.lag and step <= last_step:
        begin(session, state, step, context_length)


def begin(session: Session, state: RunState, step: int, context_length: int) -> None:
    if session.config.rollout.groups_from == "own":  # else the engine of an environment samples
        with session.timed("weights", step):
            session.update_engine(state.weights_version, context_length)
    order = state.problem_order if state.ahead is None else state.ahead.problem_order
    session.started = session.start("collect", order, step, context_length)


def advance(session: Session, state: RunState, metrics: dict[str, float]) -> None:
    """The trainer has done the step after ``state.step``: let ``state`` be that after it.

    At lag 1 the evaluation of the step before, and the batch of the step to come, end first.

    Raises:
        Preempted: if the process was asked to stop and they did not end in half of the time that it has left.
    """
    state.problem_order, state.ahead, state.is_whole = state.ahead.problem_order, None, False
    state.step, state.unrecorded = state.step + 1, metrics
    evaluation.end(session, state)
    if session.started is not None:
        patience_s = float(os.environ.get(STOP_LEAD_S, USUAL_STOP_LEAD_S)) / 2
        with session.timed("wait_batch", state.step + 1):
            state.ahead = session.from_leader(lambda _: session.started(patience_s))
        session.started = None
    state.is_whole = True
