"""The rollout batches of a run: which weights each is sampled from, and when.

Step s trains on groups sampled from the weights after v(s) = max(first step of the stage - 1, s - 1 - lag) steps. At
lag k the batch of step s + k is sampled while the trainer works on step s.
"""

from __future__ import annotations

import os

from ablate.sampling import RolloutBatch
from ablate.session import evaluation
from ablate.session.session import Session
from ablate.session.state import RunState
from ablate.session.under_way import Collection, UnderWay

STOP_LEAD_S = "ABLATE_STOP_LEAD_S"  # seconds from the signal to the end, as slurm/env.sh sets them
USUAL_STOP_LEAD_S = 30.0  # what SLURM and Kubernetes give without a setting


def next_batch(
    session: Session, state: RunState, under_way: UnderWay, context_length: int, last_step: int
) -> RolloutBatch:
    """The batch of the step after ``state.step``; at lag 0 it is sampled now, from the trainer's weights.

    At lag k a stage begins with k batches from the weights that it begins with; later the batch is there already.
    """
    num_wanted = min(max(1, session.config.rollout.lag), last_step - state.step)
    while len(state.ahead) < num_wanted:
        begin(session, state, under_way, context_length)
        wait(session, state, under_way)
    return state.ahead[0]


def begin_ahead(session: Session, state: RunState, under_way: UnderWay, context_length: int, last_step: int) -> None:
    """At lag k: begin to sample the batch of k steps after the next one from the weights in the trainer."""
    if session.config.rollout.lag and state.next_batch_step <= last_step:
        begin(session, state, under_way, context_length)


def begin(session: Session, state: RunState, under_way: UnderWay, context_length: int) -> None:
    """Begin to sample the first batch that is not here from the weights in the trainer."""
    step = state.next_batch_step
    if session.config.rollout.groups_from == "own":  # else the engine of an environment samples
        with session.timed("weights", step):
            session.update_engine(state.weights_version, context_length)
    sampling = session.sampling
    batch = None if sampling is None else sampling.begin_batch(state.next_problem_order, step, context_length)
    under_way.collection = Collection(step, batch)


def wait(session: Session, state: RunState, under_way: UnderWay, patience_s: float = 0.0) -> None:
    """Add the batch that is being sampled to ``state``.

    Raises:
        Preempted: if the process was preempted and the batch did not come in ``patience_s`` from then on.
    """
    collection = under_way.collection
    with session.timed("wait_batch", collection.step):
        batch = session.from_leader(lambda: collection.batch.result(patience_s))
    state.ahead, under_way.collection = (*state.ahead, batch), None


def advance(session: Session, state: RunState, under_way: UnderWay, metrics: dict[str, float]) -> None:
    """The trainer has done the step after ``state.step``: advance ``state`` past it.

    At lag k the evaluation of the step before, and the batch that was sampled meanwhile, end first.

    Raises:
        Preempted: if the process was preempted and they did not end in half of the time that it has left.
    """
    state.problem_order, state.ahead = state.ahead[0].problem_order, state.ahead[1:]
    state.step, state.unrecorded = state.step + 1, metrics
    evaluation.end(session, state, under_way)
    if under_way.collection is not None:
        wait(session, state, under_way, float(os.environ.get(STOP_LEAD_S, USUAL_STOP_LEAD_S)) / 2)
