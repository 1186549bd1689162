"""What a checkpoint knows of a run is all that the run needs to continue; a run that must stop is no failed run."""

from __future__ import annotations

import signal
from array import array
from contextlib import nullcontext
from dataclasses import fields, replace
from types import SimpleNamespace

import pytest
import torch
from trainer.cases import rollout_groups

from ablate.display import Display
from ablate.errors import UserError
from ablate.process.preemption import Preempted
from ablate.records import RunDirectory
from ablate.sampling import RolloutBatch
from ablate.session import Session, UnderWay, batches
from ablate.session.state import RunState
from ablate.session.under_way import Collection, Evaluation
from ablate.tracking import Mirror


def with_every_text(carrier):
    """The carrier with its own text in every field that may hold one, so that a field that is lost shows."""
    return replace(carrier, **{each.name: f"its {each.name}" for each in fields(carrier) if "str" in each.type})


def filled(group):
    """The group with no field at its default, as an engine's arrays and not as the tests' tuples."""
    return replace(
        group,
        problem=with_every_text(group.problem),
        completions=tuple(
            replace(with_every_text(each), response_ids=array("i", each.response_ids), logp=array("d", each.logp))
            for each in group.completions
        ),
        verdicts=tuple(replace(with_every_text(each), first_failed=3, cpu_s=0.5) for each in group.verdicts),
    )


def test_a_state_with_a_batch_that_waits_for_its_step_survives_a_checkpoint(tmp_path):
    groups = [filled(group) for group in rollout_groups()]
    ahead = [RolloutBatch(groups, {"rollout/pass_rate": 0.5}, {"position": position}) for position in (24, 32)]
    state = RunState(2, 1, {"position": 16}, {1: 0.25, 2: 0.5}, {"train/loss": -0.125}, tuple(ahead))
    torch.save(state.as_plain(), tmp_path / "extra.pt")
    assert RunState.of_plain(torch.load(tmp_path / "extra.pt", weights_only=True)) == state


def batch_of(step: int) -> Collection:
    return Collection(step, None)


def evaluation_of(step: int) -> Evaluation:
    return Evaluation(step, {}, [])


@pytest.mark.parametrize(
    ("lag", "under_way", "is_whole"),
    [
        (0, UnderWay(batch_of(6)), True),  # it will be sampled again, from the same weights
        (1, UnderWay(batch_of(7)), True),  # of the step after the next one
        (1, UnderWay(batch_of(6)), False),
        (2, UnderWay(batch_of(8)), True),
        (2, UnderWay(batch_of(7)), False),
        (1, UnderWay(batch_of(7), evaluation_of(5)), True),
        (1, UnderWay(None, evaluation_of(4)), False),  # else nobody would record step 4
    ],
)
def test_a_state_is_whole_once_it_has_its_batches_and_the_steps_before_it_are_recorded(lag, under_way, is_whole):
    assert under_way.is_whole(RunState(step=5), lag) == is_whole


class Order:
    """Stands for the side that samples: a batch is (step, weights, order of problems) and the order is the step."""

    def begin_batch(self, problem_order, step, context_length):
        assert (problem_order or {"after": 0})["after"] == step - 1, "each batch continues the order of the one before"
        self.sampled.append((step, self.version, context_length))
        batch = RolloutBatch([], {}, {"after": step})
        return SimpleNamespace(result=lambda patience_s: batch)

    def __init__(self) -> None:
        self.sampled, self.version = [], None


def schedule_of(lag: int, stages: list[tuple[int, int]], is_killed_at: int | None = None) -> list[tuple[int, int, int]]:
    """(step, steps of the weights, context) of every batch, in the order in which they are sampled."""
    order = Order()
    rollout = SimpleNamespace(lag=lag, groups_from="own")
    session = SimpleNamespace(
        config=SimpleNamespace(rollout=rollout),
        sampling=order,
        timed=lambda *_: nullcontext(),
        from_leader=lambda work: work(),
        update_engine=lambda version, context: setattr(order, "version", version[1]),
    )
    state, under_way, last_step = RunState(), UnderWay(), 0
    for context, num_steps in stages:
        last_step += num_steps
        while state.step < last_step:
            batches.next_batch(session, state, under_way, context, last_step)
            batches.begin_ahead(session, state, under_way, context, last_step)
            batches.advance(session, state, under_way, {})
            assert under_way.is_whole(state, lag)
            assert len(state.ahead) == min(lag, last_step - state.step), "what a checkpoint holds"
            if state.step == is_killed_at:
                state, under_way = RunState.of_plain(state.as_plain()), UnderWay()
    return order.sampled


@pytest.mark.parametrize("lag", [0, 1, 2])
def test_a_batch_comes_from_the_weights_of_lag_steps_before_it_but_of_its_own_stage_also_after_a_kill(lag):
    stages = [(128, 5), (160, 4), (320, 1)]
    firsts = {
        step: (first, context)
        for first, last, context in ((1, 5, 128), (6, 9, 160), (10, 10, 320))
        for step in range(first, last + 1)
    }
    law = [(step, max(first - 1, step - 1 - lag), context) for step, (first, context) in firsts.items()]
    for is_killed_at in (None, 1, 4, 5, 7):
        assert schedule_of(lag, stages, is_killed_at) == law


def session_whose_engine_dies(directory, received_signals: list[int]) -> Session:
    """The leader's session; its engine's process ends while it takes weights."""

    def load_weights(context_length, version, weights):
        raise UserError("the engine's process ended without a word")

    sampling = SimpleNamespace(has_weights=lambda context_length, version: False, load_weights=load_weights)
    world = SimpleNamespace(broadcast=lambda value: value)
    trainer = SimpleNamespace(world=world, gather_weights=lambda sink: sink([]))
    return Session(
        config=None,
        run=RunDirectory(directory),
        objective=None,
        trainer=trainer,
        sampling=sampling,
        display=Display(),
        mirror=Mirror(),
        received_signals=received_signals,
    )


def test_a_signal_to_the_whole_group_during_a_weight_hand_off_asks_the_run_to_stop(tmp_path):
    with pytest.raises(Preempted):
        session_whose_engine_dies(tmp_path, [signal.SIGTERM]).update_engine((1, 0), 160)


def test_an_engine_that_dies_in_a_weight_hand_off_without_a_signal_fails_the_run(tmp_path):
    with pytest.raises(UserError, match="the engine's process ended"):
        session_whose_engine_dies(tmp_path, []).update_engine((1, 0), 160)
